// Sign-in at both sides through the built Worker, by an application with a client at each:
// real client library, its checks left on; what was shown to whom is counted at the
// backends.
//
//  1. the login link leads to Logto; sign in, refresh there
//  2. once the user is known to be ready, and the share is up, it leads to mgPass; sign in
//     and refresh there, by the proxy's token route and by mgPass's own
//  3. the share goes down: the link leads to Logto, mgPass's tokens live on
//  4. signing out ends both sessions in one chain and comes back with `state`
//  5. `dwp app` shows, checks and forecasts it
//  6. no secret, code or token of the one was shown to the other, and no cookie of ours

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';

import * as oidc from 'openid-client';

import { scratch } from '../harness/sandbox/scratch.mjs';
import { Browser } from '../harness/sandbox/browser.mjs';
import { management, managementToken, pause, SPA, until } from '../harness/sandbox/client.mjs';
import { controlOf, SECRETS, startSandbox } from '../harness/sandbox/sandbox.mjs';
import { root } from './support.mjs';

// Flags are kept for five seconds in the isolate, then refreshed behind a request.
const FLAGS_SEEN_MS = 5_300;
const NEWSROOM = { id: 'app_newsroom', secret: 'mgpass-newsroom-secret' };
const insecure = { execute: [oidc.allowInsecureRequests] };
const place = scratch();

let sandbox;
let app;
let mgpass;

// The application: two configurations, a start address and a redirect URI for each.
async function startApp(proxyUrl, mgpassUrl) {
  const logto = await oidc.discovery(new URL(`${proxyUrl}/oidc`), SPA, undefined, oidc.None(), insecure);
  const own = await oidc.discovery(new URL(mgpassUrl), NEWSROOM.id, NEWSROOM.secret, oidc.ClientSecretBasic(NEWSROOM.secret), insecure);
  // The same client, with the auth host as its token route.
  const metadata = { ...own.serverMetadata(), token_endpoint: `${proxyUrl}/oidc/token` };
  const byProxy = new oidc.Configuration(metadata, NEWSROOM.id, NEWSROOM.secret, oidc.ClientSecretBasic(NEWSROOM.secret));
  oidc.allowInsecureRequests(byProxy);
  const kept = {};
  const server = http.createServer(async (request, response) => {
    const side = request.url.startsWith('/login/mgpass') ? 'mgpass' : 'logto';
    if (!request.url.startsWith('/login/')) return response.end('callback');
    const verifier = oidc.randomPKCECodeVerifier();
    const state = oidc.randomState();
    const nonce = oidc.randomNonce();
    kept[state] = { side, verifier, nonce };
    const { port } = server.address();
    const parameters = {
      redirect_uri: side === 'logto' ? `http://localhost:${port}/callback` : `http://127.0.0.1:${port}/callback`,
      scope: 'openid profile email offline_access',
      code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      state,
      nonce,
      ...(side === 'logto' && { prompt: 'consent' }),
    };
    // mgPass documents no nonce.
    if (side === 'mgpass') delete parameters.nonce;
    const to = oidc.buildAuthorizationUrl(side === 'logto' ? logto : own, parameters);
    response.writeHead(303, { location: to.href }).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${server.address().port}`;
  return {
    url,
    logto,
    own,
    byProxy,
    isCallback: (at) => /^http:\/\/(localhost|127\.0\.0\.1):\d+\/callback/.test(at),
    async finish(at, config) {
      const callback = new URL(at);
      const { side, verifier, nonce } = kept[callback.searchParams.get('state')];
      const expected = { pkceCodeVerifier: verifier, expectedState: callback.searchParams.get('state'), ...(side === 'logto' && { expectedNonce: nonce }) };
      const grant = oidc.authorizationCodeGrant(config ?? (side === 'logto' ? logto : own), callback, expected);
      return { side, tokens: await grant.catch((error) => { throw new Error(`${side}: ${error.message}: ${JSON.stringify(error.cause)}`); }) };
    },
    close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); }),
  };
}

const link = () => `${sandbox.proxy.url}/_proxy/sign-in/newsroom`;
const json = { 'content-type': 'application/json', 'logto-app-id': SPA };

// Where the link leads, without going on.
async function leadsTo(browser) {
  const response = await browser.ask('GET', link());
  assert.equal(response.status, 303);
  return response.headers.get('location');
}

// Through Logto's own API, as its page does.
async function signInAtLogto(browser, { username, password, register = false }) {
  await browser.follow(link(), (url) => url.includes('/sign-in?') || url.includes('/register?'));
  const call = async (method, path, body) => {
    const response = await browser.ask(method, `${sandbox.proxy.url}/api/experience${path}`, { headers: json, body: body && JSON.stringify(body) });
    assert.ok(response.status < 400, `${method} ${path}: ${response.status}`);
    return response;
  };
  await call('PUT', '', { interactionEvent: register ? 'Register' : 'SignIn' });
  if (register) {
    await call('POST', '/profile', { type: 'username', value: username });
    await call('POST', '/profile', { type: 'password', value: password });
    await call('POST', '/identification', {});
  } else {
    const identifier = { type: 'username', value: username };
    const verified = await (await call('POST', '/verification/password', { identifier, password })).json();
    await call('POST', '/identification', verified);
  }
  const { redirectTo } = await (await call('POST', '/submit')).json();
  const { url } = await browser.follow(redirectTo, app.isCallback);
  return app.finish(url);
}

async function signInAtMgpass(browser, config) {
  const page = await browser.follow(link(), app.isCallback);
  let { url } = page;
  if (page.response) {
    const body = new URLSearchParams({ email: 'ama@example.test', password: 'mgpass-ama-password' });
    const posted = await browser.ask('POST', url, { body });
    ({ url } = await browser.follow(posted.headers.get('location'), app.isCallback));
  }
  return app.finish(url, config);
}

before(async () => {
  const built = spawnSync('cargo', ['build', '--quiet', '-p', 'dwp'], { cwd: root, stdio: 'inherit' });
  assert.equal(built.status, 0);
  sandbox = await startSandbox({ persistTo: place.directory, vars: { PIN_SECRET: 'a-key-for-the-pin' } });
  mgpass = controlOf(sandbox.mgpass);
  app = await startApp(sandbox.proxy.url, sandbox.mgpass.url);
  const list = [{
    name: 'newsroom', group: 'main', owner: 'web team', ready: ['sign_in', 'sign_out'],
    logto: { client_id: SPA, start: `${app.url}/login/logto` },
    mgpass: { client_id: NEWSROOM.id, start: `${app.url}/login/mgpass` },
  }];
  await sandbox.flag('stage', 'dual_write');
  await sandbox.flag('applications', JSON.stringify(list));
  await sandbox.flag('mgpass_pages', 'closed');
  await sandbox.flag('sign_in_percent', '100');
  // Discovery has read the flags before they were set.
  await pause(FLAGS_SEEN_MS);
  await until('the application is known', async () => (await fetch(link(), { redirect: 'manual' })).status === 303);
}, { timeout: 600_000 });
after(async () => {
  await app?.close();
  await sandbox?.close();
  place.remove();
});

async function dwp(args, env = {}) {
  const child = spawn(path.join(root, 'target/debug/dwp'), args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH, DWP_URL: sandbox.proxy.url, ADMIN_TOKEN: SECRETS.ADMIN_TOKEN, ...env },
  });
  const [stdout, stderr, status] = await Promise.all([
    text(child.stdout), text(child.stderr), new Promise((resolve) => child.on('close', resolve)),
  ]);
  return { stdout, stderr, status };
}

const count = async (route) => (await mgpass.counters()).byRoute[route]?.count ?? 0;

describe('an application with a client at each side', () => {
  const browser = new Browser();
  const person = { username: 'efua', password: 'a-long-Password-7' };
  let atLogto;
  let atMgpass;

  test('signs in and refreshes at Logto while its user is not known to be ready', async () => {
    atLogto = await signInAtLogto(browser, { ...person, register: true });
    assert.equal(atLogto.side, 'logto');
    const before = await count('POST /token');
    atLogto.tokens = await oidc.refreshTokenGrant(app.logto, atLogto.tokens.refresh_token);
    assert.ok(atLogto.tokens.access_token);
    assert.equal(await count('POST /token'), before, 'mgPass was not asked');
  });

  test('stays at Logto with a session there, and moves without one once the user is ready', async () => {
    const { sub } = JSON.parse(atob(atLogto.tokens.id_token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')));
    const api = management(sandbox.proxy.url, await managementToken(sandbox.logto.url ? `${sandbox.proxy.url}/oidc` : ''));
    const linked = await api('PUT', `/users/${sub}/identities/google`, { userId: 'google-efua' });
    assert.ok(linked.status < 300, linked.text);
    await until('the identity is at mgPass', async () => {
      const rows = await sandbox.databases.mgpass.prepare('SELECT 1 FROM social_identities WHERE user_id = ?').bind(sub).all();
      return rows.results.length > 0;
    });
    assert.match(await leadsTo(browser), /\/login\/logto$/);
    // Judged behind the first of these, marked at the second.
    for (const isMarked of [false, true]) {
      browser.forget('_session');
      await signInAtLogto(browser, person);
      await until('the verdict', async () => {
        const rows = await sandbox.databases.proxy.prepare("SELECT 1 FROM sign_in_ready WHERE user_id = ? AND verdict = 'ready'").bind(sub).all();
        return rows.results.length > 0;
      });
      assert.equal(browser.has('__Secure-dwp_ready'), isMarked);
    }
    assert.match(await leadsTo(browser), /\/login\/logto$/, 'a session at Logto');
    browser.forget('_session');
    assert.match(await leadsTo(browser), /\/login\/mgpass$/);
  });

  test('signs in at mgPass, and refreshes by the proxy and without it', async () => {
    atMgpass = await signInAtMgpass(browser, app.byProxy);
    assert.equal(atMgpass.side, 'mgpass');
    for (const config of [app.byProxy, app.own]) {
      const { refresh_token } = atMgpass.tokens;
      const fresh = await oidc.refreshTokenGrant(config, refresh_token);
      atMgpass.tokens = { ...atMgpass.tokens, ...fresh };
      assert.notEqual(fresh.refresh_token, refresh_token);
    }
    const me = await fetch(`${sandbox.proxy.url}/oidc/me`, { headers: { authorization: `Bearer ${atMgpass.tokens.access_token}` } });
    assert.equal((await me.json()).sub, 'usr_k3v9d2');
  });

  test('keeps its tokens when the share goes down', async () => {
    await sandbox.flag('sign_in_percent', '0');
    await pause(FLAGS_SEEN_MS);
    await leadsTo(browser);
    await until('the link leads to Logto', async () => /\/login\/logto$/.test(await leadsTo(browser)));
    const fresh = await oidc.refreshTokenGrant(app.byProxy, atMgpass.tokens.refresh_token);
    atMgpass.tokens = { ...atMgpass.tokens, ...fresh };
    const old = await oidc.refreshTokenGrant(app.logto, atLogto.tokens.refresh_token);
    assert.ok(old.access_token, "Logto's chain lives on");
  });

  test('is shown, checked and forecast by dwp', async () => {
    const list = await dwp(['app', 'list']);
    assert.match(list.stdout, /^newsroom +main +sandboxspa0{11} +app_newsroom +ready: sign_in, sign_out/);
    assert.equal(list.status, 0, list.stderr);
    const check = await dwp(['app', 'check', 'newsroom', '--mgpass', sandbox.mgpass.url]);
    assert.match(check.stdout, /issuer: .*algorithm: not at mgPass: ES384.*nothing stands against it/s);
    assert.equal(check.status, 0, check.stdout + check.stderr);
    // Tokens of two people, each used up by one refresh at its own side.
    const other = await mgpass.call('POST', '/tokens', { user_id: 'usr_p8w1x5', client_id: NEWSROOM.id, scope: 'openid profile offline_access' });
    const mine = await signInAtLogto(new Browser(), person);
    const tokens = { LOGTO_REFRESH_TOKEN: mine.tokens.refresh_token, MGPASS_REFRESH_TOKEN: other.refresh_token, MGPASS_APP_SECRET: NEWSROOM.secret };
    const refreshed = await dwp(['app', 'check', 'newsroom', '--mgpass', sandbox.mgpass.url], tokens);
    assert.match(refreshed.stdout, /access token: opaque at Logto, a JWT at mgPass/);
    assert.equal(refreshed.status, 0, refreshed.stdout + refreshed.stderr);
    for (const token of Object.values(tokens)) assert.ok(!(refreshed.stdout + refreshed.stderr).includes(token));
    const forecast = await dwp(['--json', 'app', 'forecast']);
    const { people, reasons } = JSON.parse(forecast.stdout);
    assert.ok(people.length > 0, forecast.stderr);
    assert.ok(reasons.some(({ code, people: n }) => code === 'first_sign_in_at_mgpass' && n > 0), forecast.stdout);
    const unknown = await dwp(['app', 'check', 'nowhere', '--mgpass', sandbox.mgpass.url]);
    assert.equal(unknown.status, 2);
  });

  test('signs out at both in one chain, back to itself with its state', async () => {
    await signInAtLogto(browser, person);
    assert.ok(browser.has('_session'));
    const end = new URL(`${sandbox.proxy.url}/oidc/session/end`);
    end.search = new URLSearchParams({ id_token_hint: atMgpass.tokens.id_token, post_logout_redirect_uri: 'http://127.0.0.1:5999/', state: 's-7' });
    const before = await count('GET /logout');
    const { url, response } = await browser.follow(end.href);
    assert.equal(await count('GET /logout'), before + 1);
    assert.equal(new URL(url).pathname, '/oidc/session/end');
    // Logto's page, a form that submits itself.
    const page = await response.text();
    const [, action] = /action="([^"]+)"/.exec(page);
    const [, xsrf] = /name="xsrf" value="([^"]+)"/.exec(page);
    const body = new URLSearchParams({ xsrf, logout: 'yes' });
    const done = await browser.ask('POST', new URL(action, url).href, { body });
    assert.equal(done.headers.get('location'), 'http://127.0.0.1:5999/?state=s-7');
    await assert.rejects(oidc.refreshTokenGrant(app.own, atMgpass.tokens.refresh_token));
    assert.ok(!browser.has('__Secure-dwp_sign_out'));
  });

  test('no cookie of the proxy reached a backend', () => {
    for (const { url, cookie } of browser.sent) {
      const { pathname, origin } = new URL(url);
      const isOwn = origin === sandbox.proxy.url && /^\/_proxy\/(sign-in\/|signed-out$)/.test(pathname);
      assert.ok(isOwn || !cookie.includes('dwp_'), `${url}: ${cookie}`);
    }
  });
});
