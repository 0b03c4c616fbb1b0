// Random bodies for the routes on users: mostly right, often wrong in one place, sometimes no JSON at all.

const texts = ['', ' ', 'x', 'Ama', 'Łukasz Żółć', '山田 太郎', 'Zoë 🦊', 'a"b\\c/\u2028\u0001', '\ufeffmark', 'n'.repeat(128), 'n'.repeat(129), `${'n'.repeat(128)}  `, `${'n'.repeat(127)} x`, '🦊'.repeat(64), '🦊'.repeat(65), 'tab\tnew\nline', '__proto__', 'null', '1e5'];
const usernames = ['ama', 'Ama', 'AMA', 'kojo_1', '_x', 'X9', 'esi', 'Esi', 'yaw', 'u'.repeat(128), 'u'.repeat(129)];
const badUsernames = ['1ama', 'a b', 'é', 'a-b', 'a.b', ' ama', 'ama\n', 'a\0'];
const emails = ['ama@example.test', 'Ama@Example.test', 'AMA@EXAMPLE.TEST', 'kojo@example.test', 'Ünï@exämple.test', 'ÜNÏ@EXÄMPLE.TEST', 'a@b.c', 'İ@x.y', 'i̇@x.y', `${'e'.repeat(120)}@ex.test`, `${'e'.repeat(121)}@ex.test`, 'a\0@b.c', '@@b.c'];
const badEmails = ['ama', 'a@b', '@b.c', 'a@.c', 'a b@c.d', 'a@b.c ', 'a@b.c\u00a0'];
const phones = ['233200000055', '2330200000055', '61412345678', '610412345678', '14155555357', '0041', '999123456', '1', '141', '78005553535', '788005553535', '540111523456789', '5491123456789', '390612345678', '4915112345678', '37812345678', '8613812345678', '123456789012345678901', '620073035906965508', '82008018333589', '37586136632', '59800041785340', '8'.repeat(130), '8'.repeat(251), '5'];
const badPhones = ['+233200000055', '233 200', 'phone', '٣٣', '1\n', '１２３'];
const urls = ['https://cdn.example.test/a.png', 'http://a', 'HTTP://EX.TEST', 'ftp://x/y z', 'mailto:a@b', 'x:', 'data:,', 'javascript:alert(1)', 'https://例え.テスト/é', 'https://[::1]/', 'https://1.2.3', 'file:///x', 'https:a', 'blob:null', ' https://a.test ', 'https://a.test:443/\t', `https://a.test/${'a'.repeat(2033)}`, `https://a.test/${'a'.repeat(2034)}`, `https://a.test/${'🦊'.repeat(1100)}`];
const badUrls = ['a', 'no url', '//a.test', '/x', 'https://', 'http:///', 'https://a b', 'https://a.test:99999', 'https://[::g]/', 'https://1.2.3.4.5', 'https://256.1.1.1', 'https://%', 'https://xn--', 'https://a<b', ':x', '1x:', 'https://ex\0.test', 'https://a..b/', 'https://-x-/', 'https://\u00ad/', 'https://a\u200db/'];
const passwords = ['Vorpal-Blade-42', 'short', 'x', 'aaaaaaaa', '12345678', 'abcdefgh1', 'password', 'AmaAma12', 'ama12345', 'é'.repeat(9), 'Zz9 zZ8 !q', '😀'.repeat(5), 'p'.repeat(257), 'Tumtum-Tree-1234', 'qwertyui', 'Jubjub-Bird-9000'];
const passwordParts = ['aaa', 'abc', 'cba', '123', '1qaz', '2wsx', '3edc', '4rfv', 'tgb5', '6yhn', '7ujm', '8ik', 'lo9', 'qwe', 'asdf', 'zxc', 'ama', 'kojo', 'vorpal', 'jubjub', 'n', '!', 'é', 'Z', '9'];
const targets = ['google', 'apple', 'facebook', 'github', 'wechat', 'my idp', 'ключ', '10', '9', 'constructor', 'toString', '__proto__', "it's", 'a"b', 'a\\b', 'a,b', '{x}', 'Google'];
const identities = ['g-1', 'g-2', 'G-1', '', 'x'.repeat(300), 'ünï', 'a\0'];
const wrong = [null, true, false, 0, -1.5, 1e21, '', 'x', [], [1], {}, { a: 1 }, [[]], 'null'];
const keys = ['plan', 'beta', 'a', 'aa', 'é', '10', '9', '01', '4294967294', '4294967295', '', '__proto__', 'constructor', 'Ж', 'a\0', 'nested', '🦊', '"'];
const scalars = [null, true, false, 0, -0, 1, -1.5, 1e21, 1e-7, 123456789012345680000, 5e-324, 0.1, '', 'x', 'é', '🦊', '\u2028', 'pro'];

export function createBodies({ below, pick, chance, weighted, some }) {
  /** A copy: bodies are built up by writing into what is picked. */
  const anything = () => structuredClone(pick(wrong));
  function json(depth) {
    if (depth === 0 || chance(60)) return pick(scalars);
    if (chance(40)) return Array.from({ length: below(4) }, () => json(depth - 1));
    return object(depth - 1);
  }
  const object = (depth = 2) => {
    const made = {};
    for (const key of some(keys, 5)) Object.defineProperty(made, key, { value: json(depth), enumerable: true, configurable: true, writable: true });
    return made;
  };
  const profileText = () => (chance(92) ? pick(texts) : anything());
  function profile() {
    const made = {};
    for (const key of some(['familyName', 'givenName', 'middleName', 'nickname', 'preferredUsername', 'profile', 'website', 'gender', 'birthdate', 'zoneinfo', 'locale', 'unknown'], 4)) made[key] = profileText();
    if (chance(30)) {
      made.address = chance(90) ? {} : anything();
      if (made.address && typeof made.address === 'object' && !Array.isArray(made.address)) for (const key of some(['formatted', 'streetAddress', 'locality', 'region', 'postalCode', 'country', 'zip'], 3)) made.address[key] = profileText();
    }
    return made;
  }
  // What somebody holds already, so that bodies collide, in several fields at once.
  let held = {};
  const lent = (name, otherwise) => (held[name]?.length > 0 && chance(30) ? pick(held[name]) : otherwise());
  /** Of a field: good, bad by its own rules, or of any type. */
  const value = (good, bad = []) => weighted([[84, () => pick(good)], [bad.length ? 9 : 0, () => pick(bad)], [7, () => anything()]])();
  const fields = {
    username: () => lent('username', () => value([...usernames, null, ''], badUsernames)),
    primaryEmail: () => lent('primaryEmail', () => value([...emails, null, ''], badEmails)),
    primaryPhone: () => lent('primaryPhone', () => value([...phones, null, ''], badPhones)),
    name: () => value([...texts, null]),
    avatar: () => value([...urls, null, ''], badUrls),
    customData: () => (chance(92) ? object() : anything()),
    profile: () => (chance(92) ? profile() : anything()),
    password: () => (chance(25) ? passwords[0] : chance(40) ? Array.from({ length: 1 + below(4) }, () => pick(passwordParts)).join('').replace(/./g, (letter) => (chance(5) ? letter.toUpperCase() : letter)) : value(passwords, [''])),
    passwordDigest: () => value(['', '5f4dcc3b5aa765d61d8327deb882cf99', 'd'.repeat(256)], ['d'.repeat(257)]),
    passwordAlgorithm: () => value(['MD5', 'Argon2i', 'Legacy'], ['argon2i', 'Argon3', 'toString']),
  };
  const from = (names, most) => () => {
    const made = {};
    for (const name of some(names, most)) made[name] = fields[name]();
    if (chance(10)) made.unknown = json(1);
    // More than one that is too long: which is told of?
    if (chance(2)) Object.assign(made, { avatar: `https://a.test/${'a'.repeat(2048)}`, name: 'n'.repeat(129) });
    return made;
  };
  const patchable = ['username', 'primaryEmail', 'primaryPhone', 'name', 'avatar', 'customData', 'profile'];
  const required = (name, make) => () => (chance(94) ? { [name]: make(), ...(chance(8) && { extra: 1 }) } : {});

  const shapes = {
    create: from([...patchable, ...patchable, 'password', 'passwordDigest', 'passwordAlgorithm'], 5),
    patch: from(patchable, 3),
    customData: required('customData', fields.customData),
    profile: required('profile', fields.profile),
    password: required('password', fields.password),
    suspension: required('isSuspended', () => (chance(90) ? chance(50) : anything())),
    identity: () => ({ userId: value(identities), ...(chance(60) && { details: chance(92) ? object() : anything() }) }),
    connector: () => ({ connectorId: value(['google', 'nobody']), connectorData: chance(90) ? object() : anything() }),
    accountPatch: from(['name', 'avatar', 'username', 'username', 'customData'], 3),
    accountProfile: profile,
    accountEmail: () => ({ email: value(emails, badEmails), ...(chance(90) && { newIdentifierVerificationRecordId: chance(90) ? 'record' : anything() }) }),
    accountPhone: () => ({ phone: value(phones, badPhones), ...(chance(90) && { newIdentifierVerificationRecordId: chance(90) ? 'record' : anything() }) }),
    accountIdentity: () => (chance(90) ? { newIdentifierVerificationRecordId: chance(90) ? 'record' : anything() } : {}),
    none: () => ({}),
  };

  /** The text as some other library, or somebody's hand, would have written it. */
  function spelled(text) {
    return weighted([
      [60, () => text],
      [6, () => JSON.stringify(JSON.parse(text), null, pick([1, 2, '\t']))],
      [4, () => text.replace('{', '{"name":"earlier","name":null,"name":"later",')],
      [3, () => text.replace(/"/, '"\\u0061')],
      [3, () => text.replace(/[a-z]/, (letter) => `\\u00${letter.charCodeAt(0).toString(16)}`)],
      [2, () => `\ufeff${text}`],
      [2, () => ` \n${text}\r\n `],
      [2, () => text.replace(/"(\w+)":"/, '"$1":"\\ud83e\\udd8a')],
      [1, () => text.replace(/"(\w+)":"/, '"$1":"\\ud83e')],
      [2, () => text.replace(/:(\d)/, ':1.50e0$1')],
      [10, () => broken(text)],
      [1, () => pick(['', ' ', 'null', '[]', '{}', '"x"', '1', 'undefined', '[object Object]', '{"a":', `${'['.repeat(99)}${']'.repeat(99)}`, `{"customData":{"a":${'['.repeat(120)}${']'.repeat(120)}}}`])],
    ])();
  }
  function broken(text) {
    const at = below(text.length + 1);
    return weighted([
      [4, () => text.slice(0, at)],
      [4, () => text.slice(0, at) + text.slice(at + 1)],
      [4, () => text.slice(0, at) + pick([',', '}', ']', '"', ':', 'x', '\\', '0', '-', '.', 'e', '\n', '\t', '\u0001', '🦊', 'nul', 'tru', '{', '[', '\\u12', '\\x']) + text.slice(at)],
      [1, () => text + pick(['x', '}', ' {}', ',', '"', '1'])],
    ])();
  }

  /** {content_type, content_encoding, bytes} of a body of this kind. */
  function make(kind) {
    const text = chance(97) ? JSON.stringify(shapes[kind]()) : JSON.stringify(anything());
    const contentType = weighted([
      [88, 'application/json'], [2, 'application/json; charset=utf-8'], [1, 'APPLICATION/JSON;charset="utf-8"'], [1, 'application/vnd.api+json'],
      [1, 'application/json; charset'], [1, 'application/problem+json'], [1, undefined], [1, 'text/plain'], [1, 'text/html; charset=utf-8'],
      [1, 'application/x-www-form-urlencoded'], [1, 'multipart/form-data; boundary=x'], [1, 'application/octet-stream'],
    ]);
    const isJson = /json/i.test(contentType ?? '');
    let bytes = Buffer.from(isJson ? spelled(text) : text);
    if (isJson && chance(1)) bytes = Buffer.concat([bytes.subarray(0, 8), Buffer.from([0xff, 0xc3, 0x28, 0xf0, 0x9f]), bytes.subarray(8)]);
    if (isJson && below(150) === 0) bytes = Buffer.from(JSON.stringify({ customData: { huge: 'h'.repeat(pick([1_000, 1_048_000, 1_048_576, 1_100_000])) } }));
    if (contentType?.startsWith('text/') && chance(20)) bytes = Buffer.alloc(pick([57_344, 57_345]), 'x');
    return { contentType, contentEncoding: chance(1) ? pick(['gzip', 'identity', 'br']) : undefined, bytes };
  }

  return { make, targets, lend: (users) => { held = Object.fromEntries(['username', 'primaryEmail', 'primaryPhone'].map((name) => [name, users.map((user) => user[name]).filter(Boolean)])); } };
}
