// The scene of the drill: the sandbox, two applications in one group made with the documented
// middleware (docs/applications/login.mjs), and people with a browser each.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';

import { dualLogin } from '../../../docs/applications/login.mjs';
import { Browser } from '../../harness/sandbox/browser.mjs';

const PASSWORD = 'a-long-Password-7';

// What the sandbox knows at both sides. The host alone tells the callbacks apart: both stand-ins
// have one path registered.
const CLIENTS = {
  newsroom: {
    logto: { clientId: 'sandboxspa00000000000' },
    mgpass: { clientId: 'app_newsroom', clientSecret: 'mgpass-newsroom-secret' },
    throughProxy: true,
  },
  console: {
    logto: { clientId: 'sandboxweb00000000000', clientSecret: 'sample-secret-web' },
    mgpass: { clientId: 'app_console', clientSecret: 'mgpass-console-secret' },
    throughProxy: false,
  },
};

/** `store`: the sessions of one that was there before, with other settings. */
export async function startApplication(name, sandbox, { throughProxy = CLIENTS[name].throughProxy, store = new Map() } = {}) {
  const { logto, mgpass } = CLIENTS[name];
  const proxy = sandbox.proxy.url;
  let login;
  const server = http.createServer(async (request, response) => {
    if (await login.handle(request, response)) return;
    const session = login.session(request);
    if (request.url === '/logout') login.signOut(request, response);
    else response.end(JSON.stringify({ side: session?.side, id: session?.id, subject: session?.subject }));
  });
  server.listen(0);
  await once(server, 'listening');
  const { port } = server.address();
  const at = (host, path) => `http://${host}:${port}${path}`;
  const starts = { logto: at('localhost', '/login/logto'), mgpass: at('127.0.0.1', '/login/mgpass') };
  login = await dualLogin({
    insecure: true,
    store,
    link: `${proxy}/_proxy/sign-in/${name}`,
    endSession: `${proxy}/oidc/session/end`,
    afterSignOut: 'http://127.0.0.1:5999/',
    sides: {
      logto: {
        ...logto, issuer: `${proxy}/oidc`, start: starts.logto, callback: at('localhost', '/callback'),
        scope: 'openid profile email offline_access', prompt: 'consent',
      },
      mgpass: {
        ...mgpass, issuer: sandbox.mgpass.url, start: starts.mgpass, callback: at('127.0.0.1', '/callback'),
        scope: 'openid profile email offline_access', nonce: false,
        ...(throughProxy && { tokenEndpoint: `${proxy}/oidc/token` }),
      },
    },
  });
  return {
    name, login, store, starts,
    listed: {
      name, group: 'main', owner: 'drill', ready: ['sign_in', 'sign_out'],
      logto: { client_id: logto.clientId, start: starts.logto },
      mgpass: { client_id: mgpass.clientId, start: starts.mgpass },
    },
    isHome: (url) => { const { port: of, pathname } = new URL(url); return Number(of) === port && pathname === '/'; },
    sessions: () => [...store].filter(([key]) => key.startsWith('session ')).map(([, session]) => session),
    close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); }),
  };
}

export class Person {
  browser = new Browser();
  constructor(number, origin) {
    this.number = number;
    this.username = `person_${number}`;
    this.email = `person.${number}@example.test`;
    this.origin = origin;
  }

  experience = async (method, path, body) => {
    const headers = { ...(body && { 'content-type': 'application/json' }), 'accept-language': 'de' };
    return this.browser.ask(method, `${this.origin}/api/experience${path}`, { headers, body: body && JSON.stringify(body) });
  };

  // Through the steps of Logto's own page; where it leads then.
  async stepsAtLogto({ register = false, until } = {}) {
    const step = async (method, path, body) => {
      const answer = await this.experience(method, path, body);
      assert.ok(answer.status < 400, `${method} ${path}: ${answer.status} ${answer.status < 400 ? '' : await answer.text()}`);
      return answer;
    };
    await step('PUT', '', { interactionEvent: register ? 'Register' : 'SignIn' });
    if (register) {
      await step('POST', '/profile', { type: 'username', value: this.username });
      await step('POST', '/profile', { type: 'password', value: PASSWORD });
      await step('POST', '/identification', {});
    } else {
      const identifier = { type: 'username', value: this.username };
      await step('POST', '/identification', await (await step('POST', '/verification/password', { identifier, password: PASSWORD })).json());
    }
    await until?.();
    return (await (await step('POST', '/submit')).json()).redirectTo;
  }

  // By the login link to wherever it leads, as a person would; how it went.
  async signIn(app, { register = false, until } = {}) {
    let asked = 0;
    let url = app.login.link;
    for (let n = 0; n < 6; n += 1) {
      const page = await this.browser.follow(url, app.isHome);
      ({ url } = page);
      if (app.isHome(url)) break;
      const { pathname } = new URL(url);
      if (/^\/(sign-in|register)$/.test(pathname)) {
        asked += 1;
        url = await this.stepsAtLogto({ register, until });
        continue;
      }
      const html = await page.response.text();
      assert.match(html, /<form method="post"/, `${this.username} is stuck at ${url}: ${page.response.status} ${html.slice(0, 200)}`);
      const isConsent = html.includes('name="consent"');
      if (!isConsent) asked += 1;
      const fields = isConsent ? { consent: 'yes' } : { email: this.email, password: PASSWORD };
      const posted = await this.browser.ask('POST', url, { body: new URLSearchParams(fields) });
      assert.ok(posted.headers.get('location'), `${this.username} cannot sign in at mgPass: ${posted.status}`);
      url = new URL(posted.headers.get('location'), url).href;
    }
    const home = await (await this.browser.ask('GET', url)).json();
    assert.ok(home.side, `${this.username} is not signed in at ${app.name}`);
    return { ...home, app, asked };
  }

  // Where the link leads, without going on.
  async leadsTo(app) {
    const answer = await this.browser.ask('GET', app.login.link);
    assert.equal(answer.status, 303);
    const to = answer.headers.get('location');
    return to === app.starts.mgpass ? 'mgpass' : to === app.starts.logto ? 'logto' : to;
  }

  get resetPassword() { return PASSWORD; }
}
