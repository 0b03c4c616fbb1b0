// Two applications in one group made with the documented middleware
// (docs/applications/login.mjs), and people with a browser each.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';

import { dualLogin } from '../../../docs/applications/login.mjs';
import { Browser } from '../../harness/sandbox/browser.mjs';

const PASSWORD = 'a-long-Password-7';
/** Where both sides' clients may bring a browser that has signed out. */
export const SIGNED_OUT = 'http://127.0.0.1:5999/';

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
    afterSignOut: SIGNED_OUT,
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
    forget: ({ id }) => store.delete(`session ${id}`),
    close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); }),
  };
}

export class Person {
  browser = new Browser();
  /** At Logto, and at mgPass once it was carried over. */
  password = PASSWORD;
  /** At mgPass, where the person has set another there. */
  atMgpass;
  /** Newest code that mgPass has mailed to them. */
  mailbox;
  nPrompted = 0;
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
      await step('POST', '/profile', { type: 'password', value: this.password });
      await step('POST', '/identification', {});
    } else {
      const identifier = { type: 'username', value: this.username };
      await step('POST', '/identification', await (await step('POST', '/verification/password', { identifier, password: this.password })).json());
    }
    await until?.();
    return (await (await step('POST', '/submit')).json()).redirectTo;
  }

  // A form of mgPass's; where it leads, or its page again.
  async post(url, fields) {
    const posted = await this.browser.ask('POST', url, { body: new URLSearchParams(fields) });
    this.page = posted.headers.has('location') ? undefined : await posted.text();
    return posted.headers.get('location');
  }

  // mgPass's own page: by password, or by a code where it asks for a new one.
  async fillInAtMgpass(url, forgot) {
    const { email } = this;
    const asked = forgot ? { email, forgot: 'on' } : { email, password: this.atMgpass ?? this.password };
    let location = await this.post(url, asked);
    if (location === null && this.mailbox && /name="new_password"/.test(this.page)) {
      this.nPrompted += 1;
      this.atMgpass = `set-at-mgPass-${this.number}`;
      location = await this.post(url, { email, ...(forgot && { forgot: 'on' }), code: await this.mailbox(), new_password: this.atMgpass });
    }
    assert.ok(location, `${this.username} cannot sign in at mgPass: ${this.page?.slice(0, 600)}`);
    return location;
  }

  // To both sides' ends, as a browser goes; where it comes out, or the page that it ends at.
  async signOut(app, at) {
    const out = await this.browser.follow(new URL('/logout', at).href, (url) => url.startsWith(SIGNED_OUT));
    if (!out.response) return out.url;
    const html = await out.response.text();
    const xsrf = /name="xsrf" value="([^"]+)"/.exec(html)?.[1];
    if (!xsrf) return `${out.response.status} ${html.trim().slice(0, 80)}`;
    // Logto's page, a form that submits itself.
    const last = await this.browser.ask('POST', new URL(/action="([^"]+)"/.exec(html)[1], out.url).href, { body: new URLSearchParams({ xsrf, logout: 'yes' }) });
    return last.headers.get('location');
  }

  // By the login link to wherever it leads, as a person would; how it went.
  async signIn(app, { register = false, forgot = false, until } = {}) {
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
      const location = isConsent ? await this.post(url, { consent: 'yes' }) : await this.fillInAtMgpass(url, forgot);
      url = new URL(location, url).href;
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
}
