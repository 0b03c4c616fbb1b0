// The stand-in's own signing keys, and the keys of another issuer that were
// imported so that its tokens stay valid. The two are never mixed: the issuer
// named in a token selects the set, and nothing else.

import {
  calculateJwkThumbprint,
  decodeJwt,
  decodeProtectedHeader,
  exportJWK,
  generateKeyPair,
  importJWK,
  jwtVerify,
  SignJWT,
} from 'jose';
import { createPublicKey } from 'node:crypto';

import { newId } from './crypto.mjs';
import { invalidRequest } from './http.mjs';

let ownKeys;

export async function signJwt(env, algorithm, claims) {
  const [newest] = await loadOwnKeys(env, algorithm);
  return new SignJWT(claims).setProtectedHeader({ alg: algorithm, typ: 'JWT', kid: newest.kid }).sign(newest.privateKey);
}

// Public halves only. ASSUMPTION: imported keys are not listed, as they only validate.
export async function publicJwks(env, algorithm) {
  const keys = await loadOwnKeys(env, algorithm);
  return { keys: keys.map(({ publicJwk }) => publicJwk) };
}

// The claims of a token signed with one of our own keys, or undefined.
export async function verifyOwnJwt(env, algorithm, token, options = {}) {
  const header = readHeader(token);
  const keys = await loadOwnKeys(env, algorithm);
  const key = keys.find(({ kid }) => kid === header?.kid);
  if (key === undefined) return undefined;
  return verify(token, key.publicKey, { issuer: env.ISSUER, algorithms: [algorithm], ...options });
}

// ASSUMPTION, all of it: a token of the imported issuer is accepted with any
// audience while its key's sunset is ahead, if it was issued before that issuer
// stopped and for no longer than that issuer ever did. It has no mgPass session
// to be checked. The documents say only that an imported key validates existing tokens.
export async function verifyImportedJwt(env, token) {
  const header = readHeader(token);
  const issuer = readIssuer(token);
  if (header === undefined || issuer === undefined || issuer === env.ISSUER) return undefined;
  const row = await env.DB.prepare('SELECT * FROM imported_keys WHERE issuer = ? AND kid = ?')
    .bind(issuer, header.kid ?? '')
    .first();
  if (row === null) return undefined;
  const now = Date.now() / 1000;
  if (row.sunset !== null && now >= row.sunset) return undefined;
  const key = await importJWK(JSON.parse(row.public_jwk), row.alg);
  const claims = await verify(token, key, { issuer, algorithms: [row.alg], requiredClaims: ['sub', 'iat', 'exp'] });
  if (claims === undefined) return undefined;
  if (row.stopped_at !== null && claims.iat > row.stopped_at) return undefined;
  if (row.max_lifetime !== null && claims.exp - claims.iat > row.max_lifetime) return undefined;
  return claims;
}

// ASSUMPTION: how a key is imported. A JWK or a PEM, private or public; only the
// public half is kept. Without a kid the RFC 7638 thumbprint is taken.
export async function importKey(db, { issuer, jwk, pem, kid, alg, stopped_at, max_lifetime, sunset }) {
  if (typeof issuer !== 'string' || issuer === '') throw invalidRequest('issuer is required');
  const publicJwk = readPublicJwk(jwk, pem);
  const keyId = kid ?? jwk?.kid ?? (await calculateJwkThumbprint(publicJwk));
  const algorithm = alg ?? jwk?.alg ?? algorithmOf(publicJwk);
  await db
    .prepare(
      `INSERT OR REPLACE INTO imported_keys
         (issuer, kid, public_jwk, alg, stopped_at, max_lifetime, sunset, created_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, unixepoch())`,
    )
    .bind(issuer, keyId, JSON.stringify(publicJwk), algorithm, stopped_at ?? null, max_lifetime ?? null, sunset ?? null)
    .run();
  return { issuer, kid: keyId, alg: algorithm };
}

// A new key signs from now on; the older ones stay published.
export async function rotateSigningKey(env, algorithm) {
  const row = await newKeyRow(algorithm);
  await env.DB.prepare('INSERT INTO signing_keys (kid, private_jwk, created_at) VALUES (?, ?, unixepoch())')
    .bind(row.kid, row.privateJwk)
    .run();
  ownKeys = undefined;
  return row.kid;
}

function loadOwnKeys(env, algorithm) {
  ownKeys ??= readOwnKeys(env.DB, algorithm).catch((error) => {
    ownKeys = undefined;
    throw error;
  });
  return ownKeys;
}

async function readOwnKeys(db, algorithm) {
  // An edition has keys of its own kind; those of another stay where they are.
  const kind = algorithm === 'RS256' ? 'RSA' : 'EC';
  const ofKind = "json_extract(private_jwk, '$.kty') = ?";
  const { results } = await db.prepare(`SELECT kid, private_jwk FROM signing_keys WHERE ${ofKind} ORDER BY rowid DESC`).bind(kind).all();
  if (results.length === 0) {
    const row = await newKeyRow(algorithm);
    // Only the first of two that start at once writes one.
    await db
      .prepare(
        `INSERT INTO signing_keys (kid, private_jwk, created_at)
         SELECT ?, ?, unixepoch() WHERE NOT EXISTS (SELECT 1 FROM signing_keys WHERE ${ofKind})`,
      )
      .bind(row.kid, row.privateJwk, kind)
      .run();
    return readOwnKeys(db, algorithm);
  }
  return Promise.all(
    results.map(async ({ kid, private_jwk }) => {
      const privateJwk = JSON.parse(private_jwk);
      const publicJwk = { ...withoutPrivateParts(privateJwk), kid, use: 'sig', alg: algorithm };
      const privateKey = await importJWK(privateJwk, algorithm);
      return { kid, privateKey, publicJwk, publicKey: await importJWK(publicJwk, algorithm) };
    }),
  );
}

async function newKeyRow(algorithm) {
  const { privateKey } = await generateKeyPair(algorithm, { extractable: true });
  return { kid: newId('key'), privateJwk: JSON.stringify(await exportJWK(privateKey)) };
}

async function verify(token, key, options) {
  try {
    const { payload } = await jwtVerify(token, key, options);
    return payload;
  } catch {
    return undefined;
  }
}

function readHeader(token) {
  try {
    return decodeProtectedHeader(token);
  } catch {
    return undefined;
  }
}

function readIssuer(token) {
  try {
    return decodeJwt(token).iss;
  } catch {
    return undefined;
  }
}

function readPublicJwk(jwk, pem) {
  if (jwk !== undefined) return withoutPrivateParts(jwk);
  if (typeof pem !== 'string') throw invalidRequest('jwk or pem is required');
  try {
    return createPublicKey(pem).export({ format: 'jwk' });
  } catch {
    throw invalidRequest('The PEM cannot be read as a key');
  }
}

function withoutPrivateParts({ kty, crv, x, y, n, e }) {
  const publicParts = { kty, crv, x, y, n, e };
  return Object.fromEntries(Object.entries(publicParts).filter(([, value]) => value !== undefined));
}

function algorithmOf({ kty, crv }) {
  const algorithm = { RSA: 'RS256', 'P-256': 'ES256', 'P-384': 'ES384', 'P-521': 'ES512' }[crv ?? kty];
  if (algorithm === undefined) throw invalidRequest('This kind of key is not supported');
  return algorithm;
}
