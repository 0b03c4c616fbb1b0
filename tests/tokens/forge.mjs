// Makes the tokens that the corpora describe, with Node's own crypto.

import { constants, createHmac, sign } from 'node:crypto';

import { ISSUERS } from './issuers.mjs';

const HASHES = { ES256: 'sha256', ES384: 'sha384', ES512: 'sha512', RS256: 'sha256', PS256: 'sha256', RS512: 'sha512', PS512: 'sha512', EdDSA: null };
const ORDERS = {
  ES256: 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
  ES384: 0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n,
  ES512: BigInt(`0x01${'ff'.repeat(32)}fa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409`),
};
const ED_ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

export const encode = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

export function goodHeader(issuer, key) {
  return { alg: key.algorithm, typ: issuer === 'logto' ? 'at+jwt' : 'JWT', kid: key.kid };
}

export function goodClaims(issuer, iat) {
  const times = { iat, exp: iat + 3600 };
  return issuer === 'logto'
    ? { jti: 'z-WolEvWPOOiR2o4vIiFV', sub: 'aizic3ag0os9', ...times, scope: 'read write', client_id: '96vj6wgs7bj7w7zo2ibkt', iss: ISSUERS.logto, aud: 'https://api.orders.example' }
    : { jti: 'tok_5f1c', sub: 'usr_k3v9d2', ...times, scope: 'openid profile read', iss: ISSUERS.mgpass, aud: 'app_newsroom' };
}

export function signInput(input, key, { algorithm = key.algorithm, hash = HASHES[algorithm], salt = 32, encoding = 'ieee-p1363' } = {}) {
  const options = { key: key.privateKey };
  if (algorithm.startsWith('ES')) options.dsaEncoding = encoding;
  if (algorithm.startsWith('PS')) Object.assign(options, { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: salt });
  return sign(hash, Buffer.from(input), options);
}

// A case of forged.json.
export function forge(attack, { keys, now, stop }) {
  const issuer = attack.issuer ?? 'logto';
  const start = keys[issuer][attack.with ?? 'ES256'];
  const [owner, algorithm] = (attack.by ?? `${issuer}.${start.algorithm}`).split('.');
  const signer = keys[owner][algorithm];
  const read = (value) => readValue(value, { keys, now, stop });
  const header = change(goodHeader(issuer, start), attack.header, read);
  const iat = attack.where === undefined ? now - 10 : stop - 10;
  const claims = change(goodClaims(issuer, iat), attack.claims, read);
  const input = `${encode(header)}.${encode(claims)}`;
  const signature = makeSignature(attack.signature ?? {}, { input, header, claims, signer, keys });
  const shownHeader = change(header, attack.after?.header, read);
  const shownClaims = change(claims, attack.after?.claims, read);
  return `${encode(shownHeader)}.${encode(shownClaims)}.${signature}`;
}

function change(members, changes = {}, read) {
  const changed = { ...members };
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) delete changed[name];
    else changed[name] = read(value);
  }
  return changed;
}

function readValue(value, { keys, now, stop }) {
  if (typeof value !== 'string') return value;
  const named = (text) => text.split('.').reduce((found, name) => found[name], keys);
  const time = /^\$(now|stop)([+-]\d+)?$/.exec(value);
  if (time) return { now, stop }[time[1]] + Number(time[2] ?? 0);
  if (value === 'null!') return null;
  if (value.startsWith('^$')) return swapCase(named(value.slice(2)).kid);
  if (value.startsWith('$')) return named(value.slice(1)).kid;
  if (value.startsWith('@')) return named(value.slice(1)).jwk;
  if (value.startsWith("'")) return value.slice(1);
  if (value.startsWith('#')) return 'a'.repeat(Number(value.slice(1)));
  return value;
}

const swapCase = (text) => text.replace(/[a-z]/gi, (letter) => (letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase()));

function makeSignature(how, { input, header, claims, signer, keys }) {
  if (how.bytes !== undefined) return how.bytes;
  if (how.hmac !== undefined) {
    const hash = { HS384: 'sha384', HS512: 'sha512' }[header.alg] ?? 'sha256';
    return createHmac(hash, hmacSecret(how.hmac, signer, keys)).update(input).digest('base64url');
  }
  const signed = how.of ? `${encode(header)}.${encode({ ...claims, ...how.of })}` : input;
  let signature = signInput(signed, signer, { algorithm: how.sign, hash: how.hash, salt: how.salt, encoding: how.encoding });
  if (how.r !== undefined || how.s !== undefined) signature = withScalars(signature, signer.algorithm, how);
  if (how.flip !== undefined) signature[how.flip >> 3] ^= 0x80 >> (how.flip & 7);
  return how.do === undefined ? signature.toString('base64url') : MANGLE[how.do](signature, signer);
}

function hmacSecret(kind, signer, keys) {
  switch (kind) {
    case 'pem': return signer.publicKey.export({ type: 'spki', format: 'pem' });
    case 'jwk': return JSON.stringify(signer.jwk);
    case 'kid': return signer.kid;
    case 'oct': return keys.oct.secret;
    default: return '';
  }
}

function withScalars(signature, algorithm, { r, s }) {
  const length = signature.length / 2;
  const order = ORDERS[algorithm];
  const values = { 0: 0n, 1: 1n, n: order, 'n-1': order - 1n, 'n+1': order + 1n, max: 2n ** BigInt(8 * length) - 1n };
  const half = (name, own) => (name === undefined ? own : bigEndian(values[name], length));
  return Buffer.concat([half(r, signature.subarray(0, length)), half(s, signature.subarray(length))]);
}

const bigEndian = (value, length) => Buffer.from(value.toString(16).padStart(2 * length, '0'), 'hex');

const text = (bytes) => bytes.toString('base64url');
const halves = (bytes) => [bytes.subarray(0, bytes.length / 2), bytes.subarray(bytes.length / 2)];
const MANGLE = {
  swap: (bytes) => text(Buffer.concat(halves(bytes).reverse())),
  half: (bytes) => text(halves(bytes)[0]),
  'pad-halves': (bytes) => text(Buffer.concat(halves(bytes).flatMap((half) => [Buffer.alloc(1), half]))),
  zero: (bytes) => text(Buffer.alloc(bytes.length)),
  one: (bytes) => text(bigEndian(1n, bytes.length)),
  ones: (bytes) => text(Buffer.alloc(bytes.length, 0xff)),
  modulus: (_, signer) => signer.jwk.n,
  'zero-in-front': (bytes) => text(Buffer.concat([Buffer.alloc(1), bytes])),
  cut: (bytes) => text(bytes.subarray(0, -1)),
  append: (bytes) => text(Buffer.concat([bytes, Buffer.alloc(1)])),
  padded: (bytes) => `${text(bytes)}==`,
  'trailing-bits': (bytes) => text(bytes).replace(/.$/, (last) => ALPHABET[ALPHABET.indexOf(last) + 1]),
  'ed-add-order': (bytes) => {
    const [point, scalar] = halves(bytes);
    const value = BigInt(`0x${Buffer.from(scalar).reverse().toString('hex')}`) + ED_ORDER;
    return text(Buffer.concat([point, bigEndian(value, 32).reverse()]));
  },
};

// A case of refused.json: one thing of a good token changed as text. Where the case
// leaves the signature alone, the token is signed as it stands, so that nothing but
// the named defect speaks against it.
export function build(defect, { keys, now }) {
  const key = keys.logto.ES256;
  const iat = now - 10;
  const good = { header: encode(goodHeader('logto', key)), claims: encode(goodClaims('logto', iat)) };
  good.signature = signInput(`${good.header}.${good.claims}`, key).toString('base64url');
  const fill = (value) => value
    ?.replaceAll('$KID', key.kid).replaceAll('$OTHER_KID', keys.mgpass.ES256.kid)
    .replaceAll('$H', good.header).replaceAll('$C', good.claims).replaceAll('$S', good.signature);
  if (defect.compact !== undefined) return fill(defect.compact);
  const part = (whole, raw, own) => (defect[whole] !== undefined ? encode(fill(defect[whole])) : fill(defect[raw]) ?? own);
  const header = part('header', 'header_part', good.header);
  const claims = defect.set === undefined
    ? part('claims', 'claims_part', good.claims)
    : encode(changedText(goodClaims('logto', iat), defect.set, now));
  const signature = part('signature', 'signature_part', undefined)
    ?? signInput(`${header}.${claims}`, key).toString('base64url');
  return `${header}.${claims}.${signature}`;
}

// The corpus was written for one instant; its plain times move along.
const WRITTEN_FOR = 1_790_000_010;

function changedText(claims, changes, now) {
  const members = Object.entries(claims)
    .filter(([name]) => !(name in changes))
    .map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`);
  for (const [name, value] of Object.entries(changes)) {
    if (value === '') continue;
    const isTime = ['exp', 'iat', 'nbf'].includes(name) && /^1[67]\d{8}$/.test(value);
    members.push(`${JSON.stringify(name)}:${isTime ? Number(value) - WRITTEN_FOR + now : value}`);
  }
  return `{${members.join(',')}}`;
}
