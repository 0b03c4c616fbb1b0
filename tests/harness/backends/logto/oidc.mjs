// The OIDC provider behind /oidc: the engine Logto itself is built on, set up as Logto sets it up, and with its
// answers put into the recorded form (Logto 1.41 runs an older major version of the engine).

import { createHash } from 'node:crypto';
import { CompactSign } from 'jose';
import { Provider, errors } from 'oidc-provider';
import { claimsByScope, scopesSupported, userClaims } from './claims.mjs';
import { discoveryDocument } from './discovery.mjs';
import { oidcErrorBody } from './errors.mjs';
import { originOf, setLogtoCookie, shortUid, signInPath, useInteractionMap } from './interaction.mjs';

const HOUR = 3_600;
const DAY = 24 * HOUR;

const loopback = /^http:\/\/(127\.0\.0\.1|localhost):\d+\/callback$/;

function clientMetadata({ id, name, secret, client }, alg) {
  return {
    client_id: id,
    client_name: name,
    ...(secret ? { client_secret: secret } : {}),
    id_token_signed_response_alg: alg,
    ...client,
  };
}

/** Session ids of 21 characters, at creation and at every change. */
function shortenSessionIds(Session) {
  const { instantiate } = Session;
  Session.instantiate = function create(payload) {
    const session = instantiate.call(this, payload);
    if (!payload?.jti) session.jti = shortUid(session.jti);
    return session;
  };
  const { resetIdentifier } = Session.prototype;
  Session.prototype.resetIdentifier = function reset() {
    resetIdentifier.call(this);
    this.id = shortUid(this.id);
  };
}

export function createOidc({ endpoint, keys, cookieKeys, store, roles, oidcStore, applications, resources, trustProxyHeader, loopbackRedirects }) {
  const issuer = `${endpoint}/oidc`;
  const alg = keys[0].kty === 'RSA' ? 'RS256' : 'ES384';
  const resourceByIndicator = new Map(resources.map((resource) => [resource.indicator, resource]));
  const cookie = { signed: true, httpOnly: true, sameSite: 'lax', path: '/' };

  const provider = new Provider(issuer, {
    adapter: oidcStore.Adapter,
    jwks: { keys },
    clients: applications.map((application) => clientMetadata(application, alg)),
    clientDefaults: { id_token_signed_response_alg: alg },
    enabledJWA: { idTokenSigningAlgValues: ['PS256', 'RS256', 'ES384'] },
    cookies: {
      keys: cookieKeys,
      names: { session: '_session', interaction: '_interaction', resume: '_interaction_resume' },
      long: { ...cookie, overwrite: true },
      // `overwrite` is why the answer that starts the consent step does not clear the login step's resume cookie.
      short: { ...cookie, overwrite: true },
    },
    claims: Object.fromEntries(Object.entries(claimsByScope).map(([scope, claims]) => [scope, claims])),
    scopes: scopesSupported,
    conformIdTokenClaims: false,
    extraParams: [
      'first_screen', 'interaction_mode', 'direct_sign_in', 'identifier', 'one_time_token', 'organization_id', 'google_one_tap_credential',
    ],
    features: {
      devInteractions: { enabled: false },
      dPoP: { enabled: false },
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      // The engine's own policy, which Logto leaves as it is; set here because the engine warns of the default.
      introspection: {
        enabled: true,
        allowedPolicy: (_ctx, client, token) => client.clientAuthMethod !== 'none' || token.clientId === client.clientId,
      },
      revocation: {
        enabled: true,
        allowedPolicy: (_ctx, client, token) => {
          if (token.clientId === client.clientId) return true;
          if (client.clientAuthMethod === 'none') return false;
          throw new errors.InvalidRequest('client is not authorized to revoke the presented token');
        },
      },
      rpInitiatedLogout: {
        enabled: true,
        // Logto's page submits itself: signing out takes no click.
        logoutSource: (ctx, logoutForm) => {
          ctx.body = `<!doctype html><html><body>${logoutForm}<script>var form=document.forms[0];var input=document.createElement('input');`
            + "input.type='hidden';input.name='logout';input.value='yes';form.appendChild(input);form.submit();</script></body></html>";
        },
        postLogoutSuccessSource: (ctx) => { ctx.body = '<!doctype html><html><body>Signed out</body></html>'; },
      },
      userinfo: { enabled: true },
      pushedAuthorizationRequests: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (_ctx, _client, oneOf) => oneOf,
        useGrantedResource: () => false,
        getResourceServerInfo: (_ctx, indicator, client) => {
          const resource = resourceByIndicator.get(indicator);
          if (!resource) throw new errors.InvalidTarget('resource indicator is missing, or unknown');
          // Only an application with the management role may have scopes of an API; users of the stand-in have none.
          const mayHaveScopes = applications.find(({ id }) => id === client.clientId)?.managementAccess;
          return { scope: mayHaveScopes ? resource.scopes.join(' ') : '', accessTokenFormat: 'jwt', accessTokenTTL: resource.ttl };
        },
      },
    },
    formats: {
      customizers: {
        // A token without scopes says so: scope is "" and never absent.
        jwt: (_ctx, _token, { payload }) => {
          payload.scope ??= '';
          payload.jti = shortUid(payload.jti);
        },
      },
    },
    clientBasedCORS: (ctx, origin, client) => origin === originOf(ctx)
      || client.redirectUris.some((uri) => URL.canParse(uri) && new URL(uri).origin === origin)
      || (applications.find(({ id }) => id === client.clientId)?.cors ?? []).includes(origin),
    pkce: { required: (_ctx, client) => client.clientAuthMethod !== 'client_secret_basic' },
    ttl: {
      AccessToken: (_ctx, token) => token.resourceServer?.accessTokenTTL ?? HOUR,
      AuthorizationCode: 60,
      ClientCredentials: (_ctx, token) => token.resourceServer?.accessTokenTTL ?? HOUR,
      DeviceCode: 600,
      Grant: 180 * DAY,
      IdToken: HOUR,
      Interaction: HOUR,
      Session: 14 * DAY,
      // A SPA's rotated token keeps the end date of the first one.
      RefreshToken: (ctx, _token, client) => (ctx?.oidc?.entities.RotatedRefreshToken && client.clientAuthMethod === 'none'
        ? ctx.oidc.entities.RotatedRefreshToken.remainingTTL
        : 14 * DAY),
    },
    rotateRefreshToken: (ctx) => {
      const { RefreshToken: token, Client: client } = ctx.oidc.entities;
      if (token.totalLifetime() >= 365 * DAY) return false;
      return client.clientAuthMethod === 'none' || token.ttlPercentagePassed() >= 70;
    },
    interactions: {
      url: (ctx, interaction) => {
        setLogtoCookie(ctx, interaction);
        return interaction.prompt.name === 'consent' ? `/consent?app_id=${interaction.params.client_id}` : signInPath(interaction.params);
      },
    },
    findAccount: (_ctx, id) => {
      const user = store.get(id);
      if (!user) return undefined;
      return { accountId: id, claims: (use) => userClaims(store.get(id) ?? user, use, roles.namesOf(id)) };
    },
    renderError: (ctx, out, error) => {
      ctx.state.sessionNotFound = error instanceof errors.SessionNotFound;
      ctx.body = out;
    },
  });
  provider.proxy = trustProxyHeader;
  // Koa's own error print would only repeat what the client got.
  provider.on('error', () => {});
  shortenSessionIds(provider.Session);
  if (loopbackRedirects) {
    const { redirectUriAllowed } = provider.Client.prototype;
    provider.Client.prototype.redirectUriAllowed = function allowed(uri) {
      return redirectUriAllowed.call(this, uri) || (loopback.test(uri) && this.redirectUris.length > 0);
    };
  }

  const hash = alg === 'ES384' ? 'sha384' : 'sha256';
  const signingKey = keys[0];

  /** ID tokens of 1.41 carry typ and, at the token endpoint too, at_hash; the newer engine leaves both out. */
  async function idTokenWithHash(idToken, accessToken) {
    const { at_hash: _dropped, aud, exp, iat, iss, ...payload } = JSON.parse(Buffer.from(idToken.split('.')[1], 'base64url'));
    const digest = createHash(hash).update(accessToken).digest();
    payload.at_hash = digest.subarray(0, digest.length / 2).toString('base64url');
    Object.assign(payload, { aud, exp, iat, iss });
    return new CompactSign(Buffer.from(JSON.stringify(payload)))
      .setProtectedHeader({ alg, typ: 'JWT', kid: signingKey.kid })
      .sign(signingKey);
  }

  async function finishToken(ctx) {
    const { body } = ctx;
    if (ctx.status !== 200 || !body?.access_token) return;
    if (body.id_token) body.id_token = await idTokenWithHash(body.id_token, body.access_token);
    // Recorded order of a client credentials answer: scope last.
    if (body.scope !== undefined && body.id_token === undefined && body.refresh_token === undefined) {
      const { scope, ...rest } = body;
      ctx.body = { ...rest, scope };
    }
  }

  /** A JSON body is accepted at /oidc/token as well. */
  async function acceptJson(ctx) {
    if (ctx.method !== 'POST' || !ctx.is('application/json')) return;
    const chunks = [];
    for await (const chunk of ctx.req) chunks.push(chunk);
    try {
      ctx.req.body = JSON.parse(Buffer.concat(chunks).toString());
    } catch {
      ctx.req.body = {};
    }
    ctx.req.headers['content-type'] = 'application/x-www-form-urlencoded';
  }

  const [dispatch] = provider.middleware;

  /** `ctx.path` is without /oidc here. */
  async function handle(ctx) {
    const path = ctx.path.toLowerCase().replace(/(.)\/$/, '$1');
    useInteractionMap(ctx);
    if (path === '/token') await acceptJson(ctx);
    await dispatch(ctx, () => {
      // The mount owns everything below /oidc, so nothing falls through to the pages.
      ctx.status = 404;
      ctx.body = { error: 'invalid_request', error_description: `unrecognized route or not allowed method (${ctx.method} on ${ctx.path})` };
    });
    if (path === '/jwks' && ctx.method === 'GET') ctx.set('cache-control', 'no-cache, max-age=0, must-revalidate');
    if (/^\/\.well-known\/(openid-configuration|oauth-authorization-server)$/.test(path) && ctx.status === 200) {
      ctx.body = discoveryDocument({ issuer, origin: originOf(ctx), keys });
    }
    if (path === '/token') await finishToken(ctx);
  }

  function decorateError(ctx) {
    const { body } = ctx;
    if (ctx.status < 400 || !body || typeof body !== 'object' || typeof body.error !== 'string') return;
    if (ctx.query.parse_error === 'false') return;
    ctx.body = oidcErrorBody(body, ctx.state.sessionNotFound);
  }

  return { provider, issuer, alg, keys, handle, decorateError };
}
