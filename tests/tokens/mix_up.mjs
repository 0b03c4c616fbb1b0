// Two issuers in one application, as docs/applications/login.mjs makes it, before and after
// the authority has changed hands: an answer of one side is never taken for the other's, a
// code reaches its own side alone, and nobody is signed in by what somebody else began.

import { once } from 'node:events';
import http from 'node:http';

import { dualLogin } from '../../docs/applications/login.mjs';
import { Browser } from '../harness/sandbox/browser.mjs';

const PASSWORD = 'a-long-Password-9';
const TOKEN_ROUTES = '^/(oidc/token|token|oauth/token)';

async function startApplication({ sandbox, origin }) {
  const server = http.createServer(async (request, response) => {
    if (await login.handle(request, response)) return;
    response.end(JSON.stringify({ side: login.session(request)?.side, subject: login.session(request)?.subject }));
  });
  server.listen(0);
  await once(server, 'listening');
  const { port } = server.address();
  const at = (host, path) => `http://${host}:${port}${path}`;
  const scope = 'openid profile email offline_access';
  const sides = {
    logto: { issuer: `${origin}/oidc`, clientId: 'sandboxspa00000000000', start: at('localhost', '/login/logto'), callback: at('localhost', '/callback'), scope, prompt: 'consent' },
    mgpass: {
      issuer: sandbox.mgpass.url, clientId: 'app_newsroom', clientSecret: 'mgpass-newsroom-secret', start: at('127.0.0.1', '/login/mgpass'), callback: at('127.0.0.1', '/callback'), scope, nonce: false,
      tokenEndpoint: `${origin}/oidc/token`,
    },
  };
  const login = await dualLogin({ insecure: true, link: `${origin}/_proxy/sign-in/newsroom`, endSession: `${origin}/oidc/session/end`, afterSignOut: 'http://127.0.0.1:5999/', sides });
  return { sides, close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); }) };
}

export async function mixUps(place, refused, accepted) {
  const { sandbox, logto, mgpass, atMgpass } = place;
  await logto.call('PUT', '/keep', { path: TOKEN_ROUTES });
  await mgpass.call('PUT', '/keep', { path: TOKEN_ROUTES });
  const app = await startApplication(place);
  const people = {};
  for (const name of ['victim', 'mallory']) {
    await place.created(name);
    // As mgPass's page asks of who has no password there; at Logto it is set beside.
    await atMgpass({ email: `${name}@example.test`, password: 'x' });
    const [{ code }] = await mgpass.call('GET', '/mails');
    const done = await atMgpass({ email: `${name}@example.test`, code, new_password: PASSWORD });
    if (done !== 302) throw new Error(`${name} has no password at mgPass: ${done}`);
    people[name] = { name };
  }
  for (const [name, person] of Object.entries(people)) {
    const { id } = (await place.api('GET', `/users?search.username=${name}&mode.username=exact`)).json()[0];
    await place.api('PATCH', `/users/${id}/password`, { password: PASSWORD });
    person.id = id;
  }
  try {
    let generation = 10;
    for (const holder of ['logto', 'draining', 'mgpass']) {
      generation += 1;
      const deadline = holder === 'draining' ? Date.now() + 120_000 : null;
      await sandbox.databases.mgpass.prepare('UPDATE logto_mirror_authority SET generation = ?').bind(generation).run();
      await sandbox.databases.proxy.prepare('UPDATE authority SET holder = ?, generation = ?, deadline = ?').bind(holder, generation, deadline).run();
      await sandbox.reload();
      await suite({ app, holder, place }, refused, accepted);
    }
  } finally {
    await app.close();
  }
}

/** Up to the callback, which is not asked for: its address, and the browser that is on its way. */
async function onItsWay({ app, place }, side, username) {
  const browser = new Browser();
  const { start, callback } = app.sides[side];
  const isThere = (url) => url.startsWith(`${callback}?`);
  let page = await browser.follow(start, (url) => isThere(url) || new URL(url).pathname === '/sign-in');
  for (let n = 0; n < 4 && !isThere(page.url); n += 1) {
    if (new URL(page.url).pathname === '/sign-in') {
      const step = async (method, route, body) => {
        const answer = await browser.ask(method, `${place.origin}/api/experience${route}`, { headers: { 'content-type': 'application/json', 'logto-app-id': 'sandboxspa00000000000' }, body: body && JSON.stringify(body) });
        if (answer.status >= 400) throw new Error(`${method} ${route}: ${answer.status} ${await answer.text()}`);
        return answer;
      };
      await step('PUT', '', { interactionEvent: 'SignIn' });
      const checked = await step('POST', '/verification/password', { identifier: { type: 'username', value: username }, password: PASSWORD });
      await step('POST', '/identification', await checked.json());
      const { redirectTo } = await (await step('POST', '/submit')).json();
      page = await browser.follow(redirectTo, isThere);
      continue;
    }
    const html = await page.response.text();
    const fields = html.includes('name="consent"') ? { consent: 'yes' } : { email: `${username}@example.test`, password: PASSWORD };
    const posted = await browser.ask('POST', page.url, { body: new URLSearchParams(fields) });
    const location = posted.headers.get('location');
    if (!location) throw new Error(`${username} is stuck at ${page.url}: ${posted.status}`);
    page = await browser.follow(new URL(location, page.url).href, isThere);
  }
  return { browser, url: new URL(page.url) };
}

async function suite(scene, refused, accepted) {
  const { app, holder, place } = scene;
  const [MIX, CSRF] = ['mix-up between issuers', 'login CSRF across the hand-over'];
  const kept = async () => [await place.logto.call('GET', '/kept'), await place.mgpass.call('GET', '/kept')];
  const isAt = (list, text) => list.some(({ body }) => (body ?? '').includes(text));
  const take = async (browser, url) => {
    const answer = await browser.ask('GET', url.href ?? url);
    await answer.arrayBuffer();
    return { status: answer.status, session: browser.has('session') };
  };
  const isOut = ({ status, session }) => status >= 400 && !session;
  const withParameter = (url, name, value) => {
    const changed = new URL(url);
    if (value === null) changed.searchParams.delete(name);
    else changed.searchParams.set(name, value);
    return changed;
  };
  for (const side of ['logto', 'mgpass']) {
    const other = side === 'logto' ? 'mgpass' : 'logto';
    const label = (text) => `${holder}, ${side}: ${text}`;

    // Mix-up: the same answer at the other side's address, from the browser that set out.
    const mixed = await onItsWay(scene, side, 'victim');
    const code = mixed.url.searchParams.get('code');
    const elsewhere = new URL(mixed.url.search, app.sides[other].callback);
    const setOut = await onItsWay(scene, other, 'victim');
    const cookie = `login=${mixed.browser.value('login')}`;
    const atOther = await fetch(elsewhere, { redirect: 'manual', headers: { cookie } });
    refused(MIX, label("the answer at the other side's address"), atOther.status === 400 && atOther.headers.getSetCookie().length === 0, atOther.status);
    const crossed = withParameter(setOut.url, 'code', code);
    const found = await take(setOut.browser, crossed);
    refused(MIX, label("its code in an answer of the other's"), isOut(found), found);
    const [atLogto, atMgpass] = await kept();
    const stray = side === 'logto' ? atMgpass : atLogto;
    // What the victim's application was made to send there is one wrong code, without a client of the code's side.
    const isAlone = stray.filter(({ body }) => (body ?? '').includes(code)).length <= 1;
    refused(MIX, label('the other side saw its code in that forgery alone'), isAlone, stray.length);
    const own = side === 'logto' ? atLogto : atMgpass;
    refused(MIX, label('its own side was not asked about it'), !isAt(own, code), {});
    if (side === 'logto') {
      for (const [name, value] of [["mgPass's", app.sides.mgpass.issuer], ['an unknown one', 'https://evil.example'], ['none', null]]) {
        const begun = await onItsWay(scene, side, 'victim');
        const judged = await take(begun.browser, withParameter(begun.url, 'iss', value));
        refused(MIX, label(`iss is ${name}`), isOut(judged), judged);
        refused(MIX, label(`iss is ${name}: no code was sent`), !isAt((await kept())[0], begun.url.searchParams.get('code')), {});
      }
    }

    // Login CSRF: what the attacker began, in the victim's browser.
    const attack = await onItsWay(scene, side, 'mallory');
    refused(CSRF, label("the attacker's answer in a browser that set out for nothing"), isOut(await take(new Browser(), attack.url)), {});
    const victim = await onItsWay(scene, side, 'victim');
    refused(CSRF, label("the attacker's answer in a browser that set out itself"), isOut(await take(victim.browser, attack.url)), {});
    const injected = withParameter(victim.url, 'code', attack.url.searchParams.get('code'));
    refused(CSRF, label("the attacker's code in the victim's own answer"), isOut(await take(victim.browser, injected)), {});
    const stateless = await onItsWay(scene, side, 'victim');
    refused(CSRF, label('an answer without state'), isOut(await take(stateless.browser, withParameter(stateless.url, 'state', null))), {});

    // And the honest one, taken once.
    const honest = await onItsWay(scene, side, 'victim');
    const taken = await take(honest.browser, honest.url);
    accepted(label('an honest answer'), { status: taken.status === 303 && taken.session ? 200 : taken.status });
    const again = await fetch(honest.url, { redirect: 'manual' });
    refused(CSRF, label('an answer that was taken already'), again.status === 400, again.status);
  }
  // The link itself: nobody chooses the side for somebody else.
  const link = `${place.origin}/_proxy/sign-in/newsroom`;
  const ask = async (url, init = {}) => {
    const answer = await fetch(url, { redirect: 'manual', ...init });
    return { status: answer.status, to: answer.headers.get('location'), cookies: answer.headers.getSetCookie().length };
  };
  const plain = await ask(link, { headers: { 'sec-fetch-dest': 'image' } });
  for (const query of ['?side=mgpass', '?to=mgpass', `?__Secure-dwp_pin=0`, '?client_id=app_newsroom']) {
    const found = await ask(link + query, { headers: { 'sec-fetch-dest': 'image' } });
    refused(CSRF, `${holder}: ${query} chooses no side`, found.to === plain.to && found.cookies === 0, found);
  }
  for (const method of ['POST', 'PUT', 'DELETE']) {
    const found = await ask(link, { method });
    refused(CSRF, `${holder}: ${method} on the link`, found.status >= 400 && found.cookies === 0, found);
  }
}
