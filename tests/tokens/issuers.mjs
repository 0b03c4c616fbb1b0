// Two issuers that are nothing but their keys: every algorithm on both sides, made
// anew for each run, published where Logto and mgPass publish theirs. Beside them
// the keys that attackers have, and keys that should never have been published.

import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import http from 'node:http';

import { calculateJwkThumbprint } from 'jose';

export const ISSUERS = { logto: 'https://auth.old.example/oidc', mgpass: 'https://auth.new.example' };
export const ALGORITHMS = ['ES256', 'ES384', 'ES512', 'RS256', 'PS256', 'EdDSA'];

const KINDS = {
  ES256: ['ec', { namedCurve: 'P-256' }],
  ES384: ['ec', { namedCurve: 'P-384' }],
  ES512: ['ec', { namedCurve: 'P-521' }],
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  EdDSA: ['ed25519'],
};

export async function makeKey(algorithm, { kid, bits } = {}) {
  const [kind, options] = KINDS[algorithm];
  const { privateKey } = generateKeyPairSync(kind, bits ? { modulusLength: bits } : options);
  const publicKey = createPublicKey(privateKey);
  const jwk = publicKey.export({ format: 'jwk' });
  return { algorithm, privateKey, publicKey, jwk, kid: kid ?? (await calculateJwkThumbprint(jwk)) };
}

async function makeAll(algorithms, options) {
  const keys = await Promise.all(algorithms.map((algorithm) => makeKey(algorithm, options)));
  return Object.fromEntries(keys.map((key) => [key.algorithm, key]));
}

export async function makeKeys() {
  return {
    logto: await makeAll(ALGORITHMS),
    mgpass: await makeAll(ALGORITHMS),
    stranger: await makeAll(ALGORITHMS),
    withdrawn: await makeAll(['ES384']),
    weak: await makeAll(['RS256'], { bits: 1024 }),
    enc: await makeAll(['ES256']),
    twin: await makeAll(['ES256', 'ES384'], { kid: 'twin' }),
    oct: { kid: 'oct-key', secret: Buffer.from('a secret that a public set should not hold') },
  };
}

// Logto leaves `alg` out where type or curve says it; PS256 cannot be told from RS256.
const logtoJwk = ({ algorithm, jwk, kid }) => ({
  ...jwk, use: 'sig', kid, ...(['ES384', 'PS256'].includes(algorithm) ? { alg: algorithm } : {}),
});
const mgpassJwk = ({ algorithm, jwk, kid }) => ({ ...jwk, use: 'sig', kid, alg: algorithm });

export function keySets(keys) {
  const sound = Object.values(keys.logto).map(logtoJwk);
  return {
    logto: {
      keys: [
        ...sound,
        ...Object.values(keys.weak).map(logtoJwk),
        ...Object.values(keys.enc).map((key) => ({ ...logtoJwk(key), use: 'enc' })),
        ...Object.values(keys.twin).map(logtoJwk),
        { kty: 'oct', kid: keys.oct.kid, k: keys.oct.secret.toString('base64url') },
      ],
    },
    mgpass: { keys: Object.values(keys.mgpass).map(mgpassJwk) },
    imported: [...sound, ...Object.values(keys.withdrawn).map(logtoJwk)],
  };
}

// One server for both: the paths of the two do not meet. `served` counts by path.
export async function serveIssuers(sets) {
  const served = {};
  const server = http.createServer((request, response) => {
    served[request.url] = (served[request.url] ?? 0) + 1;
    const documents = {
      '/oidc/jwks': sets.logto,
      '/.well-known/jwks.json': sets.mgpass,
      '/.well-known/openid-configuration': {
        issuer: ISSUERS.mgpass,
        token_endpoint: `${origin}/token`,
        jwks_uri: `${origin}/.well-known/jwks.json`,
      },
    };
    const document = documents[request.url];
    response.writeHead(document ? 200 : 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify(document ?? {}));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${server.address().port}`;
  return {
    origin,
    served,
    close: () => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); }),
  };
}
