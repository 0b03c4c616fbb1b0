// The discovery document, member by member as recorded. The issuer is fixed; the endpoint URLs follow the request's
// own origin, forwarded headers included.

import { claimsSupported, scopesSupported } from './claims.mjs';

export function discoveryDocument({ issuer, origin, keys }) {
  const at = (path) => `${origin}/oidc${path}`;
  const hasRsa = keys.some(({ kty }) => kty === 'RSA');
  return {
    authorization_endpoint: at('/auth'),
    device_authorization_endpoint: at('/device/auth'),
    claims_parameter_supported: false,
    claims_supported: claimsSupported,
    code_challenge_methods_supported: ['S256'],
    end_session_endpoint: at('/session/end'),
    grant_types_supported: [
      'implicit', 'authorization_code', 'refresh_token', 'client_credentials',
      'urn:ietf:params:oauth:grant-type:device_code', 'urn:ietf:params:oauth:grant-type:token-exchange',
    ],
    issuer,
    jwks_uri: at('/jwks'),
    authorization_response_iss_parameter_supported: true,
    response_modes_supported: ['form_post', 'fragment', 'query'],
    response_types_supported: ['code id_token', 'code', 'id_token', 'none'],
    scopes_supported: scopesSupported,
    subject_types_supported: ['public'],
    token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_jwt', 'client_secret_post', 'private_key_jwt', 'none'],
    token_endpoint_auth_signing_alg_values_supported: ['HS256', 'RS256', 'PS256', 'ES256', 'EdDSA'],
    token_endpoint: at('/token'),
    // An RSA key says nothing of its algorithm, so both are offered; tokens are signed RS256 all the same.
    id_token_signing_alg_values_supported: hasRsa ? ['PS256', 'RS256', 'ES384'] : ['ES384'],
    pushed_authorization_request_endpoint: at('/request'),
    request_parameter_supported: false,
    request_uri_parameter_supported: false,
    userinfo_endpoint: at('/me'),
    introspection_endpoint: at('/token/introspection'),
    revocation_endpoint: at('/token/revocation'),
    backchannel_logout_supported: true,
    backchannel_logout_session_supported: true,
    claim_types_supported: ['normal'],
  };
}
