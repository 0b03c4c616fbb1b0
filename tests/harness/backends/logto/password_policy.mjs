// Logto's policies for what users choose for themselves: passwords and usernames. Not asked of the Management API.

/** What Logto fills in for a policy that says nothing of it. */
export const passwordPolicyOf = ({ length = {}, characterTypes = {}, rejects = {} } = {}) => ({
  length: { min: 8, max: 256, ...length },
  characterTypes: { min: 1, ...characterTypes },
  rejects: { pwned: true, repetitionAndSequence: true, userInfo: true, words: [], ...rejects },
});

const symbols = '!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~ ';
const sequences = [
  '0123456789', 'abcdefghijklmnopqrstuvwxyz', 'qwertyuiop', 'asdfghjkl', 'zxcvbnm',
  '1qaz', '2wsx', '3edc', '4rfv', '5tgb', '6yhn', '7ujm', '8ik', '9ol',
].flatMap((text) => [text, [...text].reverse().join('')]).flatMap((text) => [text, text.toUpperCase()]);
/** From so many characters on a repetition or a sequence counts. */
const shortest = 3;
/** So many characters besides what is restricted make a password good enough. */
const tolerance = 3;

const kindOf = (character) => {
  if (character >= 'a' && character <= 'z') return 'lower';
  if (character >= 'A' && character <= 'Z') return 'upper';
  if (character >= '0' && character <= '9') return 'digit';
  return symbols.includes(character) ? 'symbol' : undefined;
};

function repetition(rest) {
  let length = 0;
  for (const character of rest) {
    if (character !== rest[0]) break;
    length += 1;
  }
  return length >= shortest ? length : 0;
}

function sequence(rest) {
  let found = '';
  let length = 0;
  for (const character of rest) {
    if (found !== '' && !sequences.some((text) => text.includes(found + character))) break;
    found += character;
    length += 1;
  }
  return length >= shortest ? length : 0;
}

const longestStart = (rest, words) => Math.max(0, ...words.filter((word) => rest.startsWith(word.toLowerCase())).map((word) => word.length));

function aboutUser(rest, { name, username, email, phoneNumber }) {
  const words = [];
  if (name) {
    if (rest.startsWith(name.toLowerCase())) words.push(name);
    else words.push(name.replaceAll(/\s+/g, ''), ...name.split(' '));
  }
  if (username) words.push(username);
  const mailbox = email?.split('@')[0];
  if (mailbox) words.push(mailbox);
  if (phoneNumber) words.push(phoneNumber);
  return longestStart(rest, words);
}

/** `isPwned` answers for the look-up over the network. */
export function passwordIssues(password, userInfo, policy, isPwned = () => false) {
  const { length: { min, max }, characterTypes, rejects } = policy;
  const issues = [];
  const issue = (code, interpolation) => issues.push({ code: `password_rejected.${code}`, ...(interpolation && { interpolation }) });
  if (password.length < min) issue('too_short', { min });
  else if (password.length > max) issue('too_long', { max });
  const kinds = new Set(Array.from(password, kindOf));
  if (kinds.has(undefined)) issue('unsupported_characters');
  else if (kinds.size < characterTypes.min) issue('character_types', { min: characterTypes.min });
  if (rejects.pwned && isPwned(password)) issue('pwned');

  const restricted = new Set();
  const codes = new Set();
  const mark = (start, length, code) => {
    if (length <= 0) return;
    for (let i = start; i < start + length; i += 1) restricted.add(i);
    codes.add(code);
  };
  for (let i = 0; i < password.length; i += 1) {
    const rest = password.slice(i);
    if (rejects.repetitionAndSequence) {
      mark(i, repetition(rest), 'restricted.repetition');
      mark(i, sequence(rest), 'restricted.sequence');
    }
    if (rejects.words.length > 0) mark(i, longestStart(rest.toLowerCase(), rejects.words), 'restricted.words');
    if (rejects.userInfo) mark(i, aboutUser(rest.toLowerCase(), userInfo), 'restricted.user_info');
  }
  if (restricted.size > Math.max(1, password.length - tolerance)) codes.forEach((code) => issue(code));
  return issues;
}

/** Which rule a username breaks, as the end of its code; nothing when none. */
export function usernameViolation(username, { minLength, maxLength, allowedChars }) {
  if (username.length < minLength) return 'too_short';
  if (username.length > maxLength) return 'too_long';
  if (!allowedChars.uppercase && /[A-Z]/.test(username)) return 'uppercase_not_allowed';
  if (!allowedChars.lowercase && /[a-z]/.test(username)) return 'lowercase_not_allowed';
  if (!allowedChars.numbers && /\d/.test(username)) return 'numbers_not_allowed';
  if (!allowedChars.underscore && username.includes('_')) return 'underscore_not_allowed';
  return undefined;
}
