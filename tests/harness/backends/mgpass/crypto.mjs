// Ids, hashes and passwords. Only WebCrypto.

const ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyz';

// Low on purpose: a test signs in often, and nothing here is worth guarding.
const PASSWORD_ITERATIONS = 1000;

// ASSUMPTION: the documents show prefixes, and no grammar of what follows.
export function newId(prefix, length = 12) {
  const bytes = crypto.getRandomValues(new Uint8Array(length));
  return `${prefix}_${Array.from(bytes, (byte) => ALPHABET[byte % ALPHABET.length]).join('')}`;
}

export function newSecret(prefix = '') {
  return prefix + base64url(crypto.getRandomValues(new Uint8Array(32)));
}

export async function sha256(text) {
  return base64url(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
}

export async function hashPassword(password) {
  const salt = base64url(crypto.getRandomValues(new Uint8Array(16)));
  const hash = await derive(password, salt, PASSWORD_ITERATIONS);
  return `pbkdf2-sha256$${PASSWORD_ITERATIONS}$${salt}$${hash}`;
}

// False for a user without a password, and for a hash that is not ours.
export async function verifyPassword(password, stored) {
  const [scheme, iterations, salt, hash] = (stored ?? '').split('$');
  if (scheme !== 'pbkdf2-sha256') return false;
  return (await derive(password, salt, Number(iterations))) === hash;
}

async function derive(password, salt, iterations) {
  const encoder = new TextEncoder();
  const key = await crypto.subtle.importKey('raw', encoder.encode(password), 'PBKDF2', false, ['deriveBits']);
  const settings = { name: 'PBKDF2', hash: 'SHA-256', salt: encoder.encode(salt), iterations };
  return base64url(await crypto.subtle.deriveBits(settings, key, 256));
}

function base64url(buffer) {
  const binary = Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join('');
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
