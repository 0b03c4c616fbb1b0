// Signing keys. Today's Logto makes EC P-384 keys and signs ES384; a database seeded long ago, or rotated to RSA on
// purpose, signs RS256 and publishes the RSA key without `alg`, the older EC key still beside it.
// Key ids are RFC 7638 thumbprints.

import { generateKeyPairSync } from 'node:crypto';
import { calculateJwkThumbprint } from 'jose';

async function finished(privateKey, extra) {
  const jwk = privateKey.export({ format: 'jwk' });
  return { ...jwk, ...extra, use: 'sig', kid: await calculateJwkThumbprint(jwk) };
}

export const ecKey = () => finished(generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey, { alg: 'ES384' });
// Logto's RSA keys have 4096 bits; 2048 are generated in a tenth of a second and look the same.
export const rsaKey = () => finished(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey, {});

/** Private JWKs, the signing one first. */
export async function makeKeys(alg) {
  if (alg === 'ES384') return [await ecKey()];
  if (alg === 'RS256') return [await rsaKey(), await ecKey()];
  throw new Error(`alg must be ES384 or RS256, not ${alg}`);
}
