// The interaction layer around the provider: the cookie that maps clients to interactions, the consent step that
// first-party applications never see, and the pages of the single-page application.

import { RequestError, sessionNotFound } from './errors.mjs';

/** As the client sees this server, forwarded headers included when they are trusted. */
export const originOf = (ctx) => `${ctx.protocol}://${ctx.host}`;

const cookieName = '_interaction';
const cookieOptions = { signed: true };
const now = () => Math.floor(Date.now() / 1000);

function parseMap(value) {
  try {
    const map = JSON.parse(value);
    return map && typeof map === 'object' ? map : { _legacy: value };
  } catch {
    // Written before the cookie became a map.
    return { _legacy: value };
  }
}

// The engine's ids have grown to 43 characters; Logto's interactions and sessions have 21. An interaction is stored
// under the shortened uid (adapter.mjs) and every cookie and URL shows that.
const UID_LENGTH = 21;
export const shortUid = (uid) => uid.slice(0, UID_LENGTH);

/** The provider writes a bare uid; on its way out it becomes an entry of the map, as raw JSON. */
export function useInteractionMap(ctx) {
  const { cookies } = ctx;
  const set = cookies.set.bind(cookies);
  cookies.set = (name, longValue, options) => {
    if (!longValue || !name.startsWith(cookieName)) return set(name, longValue, options);
    const value = shortUid(longValue);
    if (name !== cookieName) return set(name, value, { ...options, path: options.path.replace(longValue, value) });
    const existing = cookies.get(cookieName, cookieOptions);
    const { _legacy, ...clients } = existing ? parseMap(existing) : {};
    const clientId = ctx.oidc.client.clientId;
    delete clients[clientId];
    const kept = Object.entries(clients).slice(-9);
    return set(name, JSON.stringify({ ...Object.fromEntries(kept), [clientId]: value, _legacy: value }), options);
  };
}

/** For server rendering; readable by script and not signed. */
export function setLogtoCookie(ctx, { params }) {
  const value = { appId: params.client_id };
  if (params.organization_id) value.organizationId = params.organization_id;
  if (params.ui_locales) value.uiLocales = params.ui_locales;
  ctx.cookies.set('_logto', JSON.stringify(value), { sameSite: 'lax', httpOnly: false, signed: false, overwrite: true });
}

const firstScreens = {
  register: 'register',
  reset_password: 'reset-password',
  single_sign_on: 'single-sign-on',
  'identifier:sign_in': 'identifier-sign-in',
  'identifier:register': 'identifier-register',
  sign_in: 'sign-in',
};

export function signInPath(params) {
  const screen = firstScreens[params.first_screen] ?? (params.interaction_mode === 'signUp' ? 'register' : 'sign-in');
  const query = new URLSearchParams({ app_id: params.client_id });
  for (const name of ['organization_id', 'login_hint', 'identifier', 'ui_locales']) if (params[name]) query.set(name, params[name]);
  return `/${screen}?${query}`;
}

/**
 * The uid is picked by the header unless it is empty, else by the first `app_id` of the query, decoded, else it is the
 * latest; the client named must be the interaction's own.
 */
export async function findInteraction(provider, ctx) {
  const value = ctx.cookies.get(cookieName, cookieOptions);
  if (!value) throw sessionNotFound('interaction session not found');
  const map = parseMap(value);
  const appId = ctx.get('Logto-App-Id') || new URLSearchParams(ctx.querystring).get('app_id') || undefined;
  const uid = (appId !== undefined && Object.hasOwn(map, appId) ? map[appId] : undefined) || map._legacy;
  const interaction = await provider.Interaction.find(uid);
  if (!interaction) throw sessionNotFound('interaction session not found');
  if (appId !== undefined && interaction.params.client_id !== appId) throw sessionNotFound('interaction client_id mismatch');
  if (interaction.session?.uid) {
    const session = await provider.Session.findByUid(interaction.session.uid);
    if (!session) throw sessionNotFound('session not found');
    if (session.accountId !== interaction.session.accountId) throw sessionNotFound('session principal changed');
  }
  return interaction;
}

export async function saveResult(interaction, result) {
  interaction.result = result;
  await interaction.save(interaction.exp - now());
}

/** Grants what was asked for, of the account whose session the interaction is in; answers where to go on. */
async function consent({ provider, store }, interaction) {
  const { client_id: clientId } = interaction.params;
  const accountId = interaction.session?.accountId;
  if (!accountId) throw new RequestError('session.not_found', 400);
  const { missingOIDCScope, missingResourceScopes } = interaction.prompt.details;
  const grant = (interaction.grantId && await provider.Grant.find(interaction.grantId)) || new provider.Grant({ accountId, clientId });
  if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(' '));
  for (const [indicator, scopes] of Object.entries(missingResourceScopes ?? {})) grant.addResourceScope(indicator, scopes.join(' '));
  const grantId = await grant.save();
  await saveResult(interaction, { ...interaction.lastSubmission, consent: { grantId } });
  // The first application consented to is remembered for good. No webhook tells of it.
  if (store.get(accountId)?.applicationId === null) store.update(accountId, { applicationId: clientId });
  return interaction.returnTo;
}

/** The API of the consent page that third-party applications see. Reading it names the user. */
export function addConsentRoutes(router, { oidc: { provider }, store, applications }) {
  const area = { area: 'experience' };
  const load = async (ctx) => {
    const interaction = await findInteraction(provider, ctx);
    if (!interaction.session?.accountId) throw new RequestError('session.not_found', 400);
    return interaction;
  };
  router.add('GET', '/interaction/consent', area, async (ctx) => {
    const interaction = await load(ctx);
    const { id, name, avatar, username, primaryEmail, primaryPhone } = store.find(interaction.session.accountId);
    const { missingOIDCScope = [] } = interaction.prompt.details;
    ctx.body = {
      application: { id: interaction.params.client_id, name: applications.find((application) => application.id === interaction.params.client_id)?.name },
      user: { id, name, avatar, username, primaryEmail, primaryPhone },
      missingOIDCScope,
      redirectUri: interaction.params.redirect_uri,
    };
  });
  router.add('POST', '/interaction/consent', area, async (ctx) => {
    ctx.body = { redirectTo: await consent({ provider, store }, await load(ctx)) };
  });
}

const guarded = [
  '/sign-in', '/consent', '/register', '/single-sign-on', '/social/register', '/reset-password', '/forgot-password',
  '/identifier-sign-in', '/identifier-register', '/mfa-binding', '/mfa-verification',
];

const page = (path) => `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Logto stand-in</title></head><body><div id="app" data-path="${
  path.replace(/[^\w/-]/g, '')}"></div></body></html>\n`;

/** koa-mount: by case, the prefix itself or anything below it. */
const isMounted = (path, prefix) => path === prefix || path.startsWith(`${prefix}/`);

/** Everything outside /api and /oidc. What stands before the pages looks at no method. */
export async function servePages({ provider, store, endpoint }, ctx) {
  const { path } = ctx;
  if (guarded.some((prefix) => path.startsWith(prefix))) {
    let interaction;
    try {
      interaction = await findInteraction(provider, ctx);
    } catch {
      // Not the forwarded host: this address is a setting.
      ctx.redirect(`${endpoint}/unknown-session`);
      return;
    }
    if (isMounted(path, '/consent')) {
      try {
        ctx.redirect(await consent({ provider, store }, interaction));
      } catch (error) {
        if (!(error instanceof RequestError)) throw error;
        ctx.status = error.status;
        ctx.body = error.body;
      }
      return;
    }
  }
  const first = path.split('/', 2)[1]?.toLowerCase();
  // A mount prefix in the wrong case, or after a double slash, is no API, and there is no such page either.
  if (path.startsWith('//') || first === 'api' || first === 'oidc' || !['GET', 'HEAD'].includes(ctx.method)) {
    ctx.status = 404;
    ctx.type = 'text/plain; charset=utf-8';
    ctx.body = 'Not Found';
    return;
  }
  ctx.set('cache-control', 'no-cache, no-store, must-revalidate');
  ctx.set('content-language', 'en');
  ctx.set('logto-static-package', 'experience');
  ctx.type = 'html';
  ctx.body = page(path);
}
