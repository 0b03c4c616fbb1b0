// Passwords of the stand-in. Nobody's real one is among them, so scrypt at its cheapest stands for Argon2i; the text
// has the shape of Logto's PHC string, because exported digests are looked at, but it is not an Argon2 hash.

import { createHash, randomBytes, scryptSync, timingSafeEqual } from 'node:crypto';

const cheap = { N: 16, r: 1, p: 1 };
const base64 = (bytes) => bytes.toString('base64').replace(/=+$/, '');

export function hashPassword(password) {
  const salt = randomBytes(16);
  const hash = scryptSync(password, salt, 32, cheap);
  return { digest: `$argon2i$v=19$m=8192,t=8,p=1$${base64(salt)}$${base64(hash)}`, algorithm: 'Argon2i' };
}

const equal = (a, b) => a.length === b.length && timingSafeEqual(a, b);

/** Argon2 and bcrypt digests made elsewhere cannot be checked here without a dependency: they never match. */
export function verifyPassword(password, stored) {
  if (!stored) return false;
  switch (stored.algorithm) {
    case 'MD5':
    case 'SHA1':
    case 'SHA256': {
      const hash = createHash(stored.algorithm.toLowerCase()).update(password).digest('hex');
      return equal(Buffer.from(hash), Buffer.from(stored.digest));
    }
    case 'Argon2i': {
      const match = /^\$argon2i\$v=19\$m=8192,t=8,p=1\$([^$]+)\$([^$]+)$/.exec(stored.digest);
      if (!match) return false;
      const hash = Buffer.from(match[2], 'base64');
      return equal(scryptSync(password, Buffer.from(match[1], 'base64'), hash.length, cheap), hash);
    }
    default:
      return false;
  }
}
