// The other opinion: the same questions answered by jose, in the same workerd.
// POST {keySets: {issuer: JWKS}, audiences, tokens: [token, ...]} -> [null or jose's code, ...]

import { createLocalJWKSet, decodeJwt, jwtVerify } from 'jose';

const ALGORITHMS = ['ES256', 'ES384', 'ES512', 'RS256', 'PS256', 'EdDSA'];

export default {
  async fetch(request) {
    const { keySets, typed, audiences, tokens } = await request.json();
    const sets = Object.fromEntries(Object.entries(keySets).map(([issuer, set]) => [issuer, createLocalJWKSet(set)]));
    return Response.json(await Promise.all(tokens.map((token) => judge(token))));

    async function judge(token) {
      try {
        const { iss } = decodeJwt(token);
        if (typeof iss !== 'string' || sets[iss] === undefined) return 'unknown issuer';
        await jwtVerify(token, sets[iss], {
          issuer: iss,
          audience: audiences,
          algorithms: ALGORITHMS,
          clockTolerance: 0,
          maxTokenAge: undefined,
          requiredClaims: ['sub', 'exp', 'iat'],
          ...(typed.includes(iss) ? { typ: 'at+jwt' } : {}),
        });
        return null;
      } catch (error) {
        return error.code ?? error.name;
      }
    }
  },
};
