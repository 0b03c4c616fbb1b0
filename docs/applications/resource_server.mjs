// An API that takes access tokens of two issuers; on jose.
//
//   const authenticate = resourceServer({
//     issuers: {
//       'https://auth.example.com/oidc': { jwks: 'https://auth.example.com/oidc/jwks', algorithms: ['ES384'],
//                                          audience: 'https://api.newsroom.example', typ: 'at+jwt' },
//       'https://auth.mgpass.net': { jwks: 'https://auth.mgpass.net/.well-known/jwks.json', algorithms: ['ES256'],
//                                    audience: 'app_newsroom', isAccessToken: ({ scope }) => typeof scope === 'string' },
//     },
//     introspection: { endpoint: 'https://auth.example.com/oidc/token/introspection', clientId: '…', clientSecret: '…' },
//   });
//   const claims = await authenticate(request.headers.authorization);   // throws Refused with status and challenge
//
// A token names its issuer before anybody has checked it: the name chooses a key set, an audience
// and an algorithm, and nothing else. A key verifies tokens of its own issuer only. Logto writes
// `typ: at+jwt` on access tokens and on nothing else; mgPass documents no `typ`, so there the claims
// must tell an access token from an ID token. What is no JWT is opaque and is asked about.

import { createRemoteJWKSet, decodeJwt, jwtVerify } from 'jose';

const OF_THE_TOKEN = new Set([
  'ERR_JWS_INVALID', 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED', 'ERR_JWT_INVALID', 'ERR_JWT_EXPIRED', 'ERR_JWT_CLAIM_VALIDATION_FAILED',
  'ERR_JWKS_NO_MATCHING_KEY', 'ERR_JOSE_ALG_NOT_ALLOWED', 'ERR_JOSE_NOT_SUPPORTED',
]);

export class Refused extends Error {
  constructor(status, code) {
    super(code);
    this.status = status;
    this.challenge = status === 401 ? `Bearer error="${code}"` : undefined;
  }
}

export function resourceServer({ issuers, introspection, fetch: ask = fetch }) {
  const known = new Map(Object.entries(issuers).map(([issuer, { jwks, ...rules }]) =>
    [issuer, { ...rules, keys: createRemoteJWKSet(new URL(jwks)) }]));

  async function verified(token) {
    let issuer;
    try {
      ({ iss: issuer } = decodeJwt(token));
    } catch {
      throw new Refused(401, 'invalid_token');
    }
    const rules = known.get(issuer);
    if (!rules) throw new Refused(401, 'invalid_token');
    const { keys, algorithms, audience, typ, isAccessToken = () => true } = rules;
    try {
      const { payload } = await jwtVerify(token, keys, { issuer, algorithms, audience, typ, requiredClaims: ['exp', 'sub'] });
      if (isAccessToken(payload)) return payload;
    } catch (error) {
      // Whatever else went wrong, such as a key set that cannot be had, says nothing of the token.
      if (!OF_THE_TOKEN.has(error.code)) throw new Refused(503, 'temporarily_unavailable');
    }
    throw new Refused(401, 'invalid_token');
  }

  async function introspected(token) {
    const { endpoint, clientId, clientSecret } = introspection;
    const secret = Buffer.from(`${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret)}`).toString('base64');
    const answer = await ask(endpoint, {
      method: 'POST',
      headers: { authorization: `Basic ${secret}`, 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ token }),
    }).catch(() => undefined);
    if (!answer?.ok) throw new Refused(503, 'temporarily_unavailable');
    const claims = await answer.json();
    if (claims.active !== true || typeof claims.sub !== 'string') throw new Refused(401, 'invalid_token');
    return claims;
  }

  return async function authenticate(authorization) {
    const token = /^Bearer ([A-Za-z0-9._~+/-]+=*)$/i.exec(authorization ?? '')?.[1];
    if (!token) throw new Refused(401, 'invalid_request');
    return token.split('.').length === 3 ? verified(token) : introspected(token);
  };
}
