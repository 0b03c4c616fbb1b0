// Stand-in for a self-hosted Logto, for tests and the sandbox: the surface the proxy touches, awkward parts included,
// held to exchanges recorded from real servers by contract.test.mjs. Everything lives in memory, and is gone with the
// process unless `file` is given.
//
//   node tests/harness/backends/logto/main.mjs --port 3001 --control-port 3901 --endpoint http://127.0.0.1:8787 --alg ES384
//
// --endpoint is the public origin (Logto's ENDPOINT); the issuer is endpoint + "/oidc". Clients: see seed.mjs.

import { randomBytes } from 'node:crypto';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { startFront } from '../front.mjs';
import { accountCenterOf, accountGuard, addAccountRoutes } from './account.mjs';
import { createOidcStore } from './adapter.mjs';
import { createCodes } from './codes.mjs';
import { controlRoutes } from './control.mjs';
import { addExperienceRoutes } from './experience.mjs';
import { addConsentRoutes } from './interaction.mjs';
import { makeKeys } from './keys.mjs';
import { addLegacyInteractionRoutes } from './legacy.mjs';
import { addManagementRoutes, managementGuard } from './management.mjs';
import { createOidc } from './oidc.mjs';
import { passwordPolicyOf } from './password_policy.mjs';
import { hashPassword } from './passwords.mjs';
import { createQueries } from './queries.mjs';
import { createRoles } from './roles.mjs';
import { Router, routeNamer } from './router.mjs';
import { defaultSeed, signInExperience } from './seed.mjs';
import { createApp } from './server.mjs';
import { openTables } from './tables.mjs';
import { UserStore } from './users.mjs';
import { createWebhooks } from './webhooks.mjs';

/**
 * @param endpoint  public origin; without it the data port's own address
 * @param keys      private JWKs, the signing one first; without them made anew for `alg`
 * @param originSecret  closes the origin: whoever does not send it as X-Proxy-Secret gets a gateway's 403; `admitOnly` changes that
 * @param accountCenter  whether users may see and change what of themselves; off with `false`, all of it without
 * @param usernamePolicy, passwordPolicy  as the tenant's sign-in experience has them
 * @param isPwned   answers for the look-up of leaked passwords, which goes over the network
 * @param seed      parts of defaultSeed to replace: {applications, resources, users, hooks}
 * @param file      users, roles, hooks, keys, sessions and tokens outlive the process there (tables.mjs); users and hooks of
 *                  `seed` are then for the first start only. Verification codes do not outlive it.
 */
export async function startLogto({
  port = 0, controlPort = 0, endpoint, alg = 'ES384', keys, accountCenter = true, trustProxyHeader = true,
  usernamePolicy = signInExperience.usernamePolicy, passwordPolicy = signInExperience.passwordPolicy, isPwned = () => false,
  loopbackRedirects = true, originSecret, seed = {}, file, host = '127.0.0.1',
} = {}) {
  const { applications, resources, users, hooks } = { ...defaultSeed, ...seed };
  const tables = openTables(file);
  const store = new UserStore(tables);
  const oidcStore = createOidcStore(tables);
  const roles = createRoles(tables);
  const codes = createCodes();
  const webhooks = createWebhooks(tables);
  const router = new Router();
  const made = tables.open('keys');
  const ownKeys = keys ?? made.get(alg) ?? await makeKeys(alg);
  if (keys === undefined && !made.has(alg)) made.set(alg, ownKeys);
  if (!made.has('cookies')) made.set('cookies', [randomBytes(24).toString('base64url')]);
  if (tables.isNew) {
    for (const { password, ...user } of users) store.create({ ...user, password: typeof password === 'string' ? hashPassword(password) : password });
    for (const hook of hooks) webhooks.add(hook);
  }

  // The issuer may be this very server's address, which is known only once it listens.
  let listener = (_req, res) => { res.statusCode = 503; res.end(); };
  const front = await startFront({
    name: 'logto', port, controlPort, host,
    handler: (req, res) => listener(req, res),
    routeName: routeNamer(router),
    callerOf,
    control: controlRoutes({ store, oidcStore, webhooks, codes }),
  });
  const origin = (endpoint ?? front.url).replace(/\/$/, '');
  const oidc = createOidc({ endpoint: origin, keys: ownKeys, cookieKeys: made.get('cookies'), store, roles, oidcStore, applications, resources, trustProxyHeader, loopbackRedirects });
  const queries = createQueries({ store, usernamePolicy });
  const context = { endpoint: origin, store, queries, oidcStore, oidc, provider: oidc.provider, roles, codes, webhooks, applications, router, trustProxyHeader,
    accountCenter: accountCenterOf(accountCenter), usernamePolicy, passwordPolicy: passwordPolicyOf(passwordPolicy), isPwned };
  context.guards = { management: managementGuard(oidc), account: accountGuard(context) };
  router.add('GET', '/status', { area: 'public' }, (ctx) => { ctx.status = 204; });
  addExperienceRoutes(router, context);
  addConsentRoutes(router, context);
  addLegacyInteractionRoutes(router, context);
  addManagementRoutes(router, context);
  addAccountRoutes(router, context);
  const served = createApp(context).callback();
  let admitted = originSecret === undefined ? undefined : [originSecret];
  listener = (req, res) => {
    if (admitted === undefined || admitted.includes(req.headers['x-proxy-secret'])) return served(req, res);
    res.writeHead(403, { 'content-type': 'text/plain' }).end('Forbidden');
  };

  return {
    url: front.url,
    port: front.port,
    endpoint: origin,
    issuer: oidc.issuer,
    control: front.control,
    front,
    users: store,
    webhooks,
    codes,
    applications,
    mutatingRoutes: router.mutating(),
    /** From now on the gateway lets these secrets pass; undefined: everybody. */
    admitOnly(secrets) { admitted = secrets; },
    provider: oidc.provider,
    async close() {
      await front.close();
      await webhooks.settled();
      tables.close();
    },
  };
}

/** The application that a token names; nobody's word is taken for more than a count. */
function callerOf(req) {
  const [, token] = /^bearer:? *(\S+)$/i.exec(req.headers.authorization ?? '') ?? [];
  if (token === undefined) return 'nobody';
  try {
    return JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString()).client_id ?? 'unnamed';
  } catch {
    return 'opaque';
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '3001' },
      'control-port': { type: 'string', default: '3901' },
      endpoint: { type: 'string' },
      alg: { type: 'string', default: 'ES384' },
      host: { type: 'string', default: '127.0.0.1' },
    },
  });
  const logto = await startLogto({
    port: Number(values.port), controlPort: Number(values['control-port']), endpoint: values.endpoint, alg: values.alg, host: values.host,
  });
  console.log(JSON.stringify({ logto: logto.url, control: logto.control.url, issuer: logto.issuer }));
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => logto.close().then(() => process.exit(0)));
}
