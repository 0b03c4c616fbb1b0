// Applications on Logto's own client libraries, their checks left on: one on `@logto/node` that
// has a client at mgPass as well, and one on `@logto/browser` in a real Chromium that has none
// and stays at Logto.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';

import LogtoNodeClient from '@logto/node';
import { buildSync } from 'esbuild';
import { chromium } from 'playwright-core';

import { dualLogin } from '../../../docs/applications/login.mjs';
import { root } from '../../e2e/support.mjs';
import { SIGNED_OUT } from './scene.mjs';

const PORTAL = { id: 'drillportal0000000000', secret: 'drill-secret-portal', atMgpass: 'app_spa' };
const DESK = { id: 'drilldesk000000000000' };
const SCOPES = ['profile', 'email'];
const FLOW = { grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'] };

/** What Logto knows of them from the start. The browser's requests are judged by the origin of a redirect URI. */
export const applications = (deskPort) => [
  {
    id: PORTAL.id, type: 'Traditional', name: 'portal', description: null, cors: [], secret: PORTAL.secret,
    client: { ...FLOW, token_endpoint_auth_method: 'client_secret_basic', redirect_uris: ['http://127.0.0.1:5999/callback'], post_logout_redirect_uris: [SIGNED_OUT] },
  },
  {
    id: DESK.id, type: 'SPA', name: 'desk', description: null, cors: [],
    client: {
      ...FLOW, token_endpoint_auth_method: 'none', redirect_uris: [`http://127.0.0.1:${deskPort}/callback`], post_logout_redirect_uris: [`http://127.0.0.1:${deskPort}/signed-out`],
    },
  },
];

class Storage {
  values = new Map();
  async getItem(key) { return this.values.get(key) ?? null; }
  async setItem(key, value) { this.values.set(key, value); }
  async removeItem(key) { this.values.delete(key); }
}

/** At Logto by `@logto/node`, at mgPass by the documented middleware with a public client. Of the shape of startApplication. */
export async function startPortal(sandbox) {
  const proxy = sandbox.proxy.url;
  const visits = new Map();
  const store = new Map();
  let login;
  const server = http.createServer(async (request, response) => {
    if (await login.handle(request, response)) return;
    const key = /(?:^|; )portal=(\w+)/.exec(request.headers.cookie ?? '')?.[1];
    const url = new URL(request.url, `http://${request.headers.host}`);
    const go = (to, cookie) => response.writeHead(303, { location: to, ...(cookie && { 'set-cookie': cookie }) }).end();
    if (url.origin + url.pathname === starts.logto) {
      const visit = begin();
      await visit.client.signIn({ redirectUri: at('localhost', '/callback'), postRedirectUri: undefined });
      go(visit.to, `portal=${visit.id}; Path=/; HttpOnly; SameSite=Lax`);
    } else if (url.hostname === 'localhost' && url.pathname === '/callback') {
      const visit = visits.get(key);
      try {
        await visit.client.handleSignInCallback(url.href);
        visit.subject = (await visit.client.getIdTokenClaims()).sub;
        go('/');
      } catch (error) {
        response.writeHead(502).end(`the sign-in failed: ${error.code ?? error}`);
      }
    } else if (url.pathname === '/logout') {
      const visit = url.hostname === 'localhost' && visits.get(key);
      if (!visit) return login.signOut(request, response);
      visits.delete(key);
      await visit.client.signOut(SIGNED_OUT);
      go(visit.to, 'portal=; Path=/; Max-Age=0');
    } else {
      const session = url.hostname === 'localhost' ? visits.get(key) : login.session(request);
      response.end(JSON.stringify({ side: session?.side, id: session?.id, subject: session?.subject }));
    }
  });
  server.listen(0);
  await once(server, 'listening');
  const { port } = server.address();
  const at = (host, path) => `http://${host}:${port}${path}`;
  const starts = { logto: at('localhost', '/login/logto'), mgpass: at('127.0.0.1', '/login/mgpass') };
  const begin = () => {
    const storage = new Storage();
    const visit = { id: crypto.randomUUID().replaceAll('-', ''), side: 'logto', get refreshToken() { return storage.values.get('refreshToken'); } };
    visit.client = new LogtoNodeClient(
      { endpoint: proxy, appId: PORTAL.id, appSecret: PORTAL.secret, scopes: SCOPES },
      { storage, navigate: (to) => { visit.to = to; } },
    );
    visits.set(visit.id, visit);
    return visit;
  };
  login = await dualLogin({
    insecure: true, store, link: `${proxy}/_proxy/sign-in/portal`, endSession: `${proxy}/oidc/session/end`, afterSignOut: SIGNED_OUT,
    sides: {
      mgpass: {
        issuer: sandbox.mgpass.url, clientId: PORTAL.atMgpass, start: starts.mgpass, callback: at('127.0.0.1', '/callback'),
        scope: 'openid profile email offline_access', nonce: false, tokenEndpoint: `${proxy}/oidc/token`,
      },
    },
  });
  const refresh = async (session) => {
    if (session.side === 'mgpass') return login.refresh(session);
    await session.client.clearAccessToken();
    await session.client.getAccessToken();
    return session;
  };
  return {
    name: 'portal', starts, login: { ...login, refresh },
    listed: {
      name: 'portal', group: 'main', owner: 'drill', ready: ['sign_in', 'sign_out'],
      logto: { client_id: PORTAL.id, start: starts.logto }, mgpass: { client_id: PORTAL.atMgpass, start: starts.mgpass },
    },
    isHome: (url) => { const { port: of, pathname } = new URL(url); return Number(of) === port && pathname === '/'; },
    sessions: () => [
      ...[...visits.values()].filter(({ subject }) => subject !== undefined),
      ...[...store].filter(([key]) => key.startsWith('session ')).map(([, session]) => session),
    ],
    forget: ({ id }) => visits.delete(id) || store.delete(`session ${id}`),
    close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); }),
  };
}

/** A page on `@logto/browser`, in one tab of a Chromium. */
export async function startDesk({ sandbox, port, executable }) {
  const { outputFiles: [bundle] } = buildSync({
    stdin: { contents: "import LogtoClient from '@logto/browser'; window.LogtoClient = LogtoClient;", resolveDir: root },
    bundle: true, write: false, format: 'iife', platform: 'browser', target: 'es2022',
  });
  const config = { endpoint: sandbox.proxy.url, appId: DESK.id, scopes: SCOPES };
  const html = `<!doctype html><title>desk</title><script src="/client.js"></script><script>window.client = new LogtoClient(${JSON.stringify(config)});</script>`;
  const server = http.createServer(({ url }, response) => {
    if (url === '/client.js') response.writeHead(200, { 'content-type': 'text/javascript' }).end(bundle.text);
    else response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(html);
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const origin = `http://127.0.0.1:${port}`;
  const chrome = await chromium.launch({ executablePath: executable });
  const page = await (await chrome.newContext()).newPage();
  page.setDefaultTimeout(30_000);

  // As Logto's own page asks its API, from its own origin.
  const steps = (fields) => page.evaluate(async ({ username, password, register, appId }) => {
    const call = async (method, path, body) => {
      const answer = await fetch(`/api/experience${path}`, { method, headers: { 'content-type': 'application/json', 'logto-app-id': appId }, body: body && JSON.stringify(body) });
      if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
      return answer.headers.get('content-type')?.includes('json') ? answer.json() : undefined;
    };
    await call('PUT', '', { interactionEvent: register ? 'Register' : 'SignIn' });
    if (register) {
      await call('POST', '/profile', { type: 'username', value: username });
      await call('POST', '/profile', { type: 'password', value: password });
      await call('POST', '/identification', {});
    } else {
      const identifier = { type: 'username', value: username };
      await call('POST', '/identification', await call('POST', '/verification/password', { identifier, password }));
    }
    const { redirectTo } = await call('POST', '/submit');
    window.location.assign(redirectTo);
  }, { ...fields, appId: DESK.id });

  return {
    name: 'desk',
    version: chrome.version(),
    origin,
    /** Whose tokens they are. */
    async signIn({ username, password }, { register = false } = {}) {
      await page.goto(`${origin}/`);
      const isAt = (path) => ({ pathname, port: of }) => pathname === path && Number(of) === port;
      const asked = (url) => url.pathname === '/sign-in' || isAt('/callback')(url);
      await Promise.all([page.waitForURL(asked), page.evaluate(() => { window.client.signIn(`${window.location.origin}/callback`); })]);
      if (new URL(page.url()).pathname === '/sign-in') await Promise.all([page.waitForURL(isAt('/callback')), steps({ username, password, register })]);
      await page.evaluate(() => window.client.handleSignInCallback(window.location.href));
      const { sub } = await page.evaluate(() => window.client.getIdTokenClaims());
      // Another load of the page finds its tokens.
      await page.goto(`${origin}/`);
      assert.equal(await page.evaluate(() => window.client.isAuthenticated()), true);
      return sub;
    },
    refreshToken: () => page.evaluate(() => window.client.getRefreshToken()),
    /** A new access token for the refresh token; what the library says where there is none. */
    refresh: () => page.evaluate(async () => {
      const before = await window.client.getRefreshToken();
      await window.client.clearAccessToken();
      const answer = await window.client.getAccessToken().then(() => ({}), (error) => ({ error: String(error.code ?? error.message) }));
      return { ...answer, rotated: before !== await window.client.getRefreshToken() };
    }),
    async signOut() {
      const isOut = `${origin}/signed-out`;
      await Promise.all([page.waitForURL(isOut), page.evaluate(() => { window.client.signOut(`${window.location.origin}/signed-out`); })]);
      return page.url();
    },
    async close() {
      await chrome.close();
      await new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); });
    },
  };
}
