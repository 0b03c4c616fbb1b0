// Where Logto is laxer than one expects (contract, section 13): the stand-in is as lax, or no test could show what
// the proxy makes of it.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { startLogto } from '../main.mjs';
import { defaultSeed } from '../seed.mjs';
import { Jar, send } from './client.mjs';
import { authorizeUrl, basic, form, json, m2m, signIn, spa, web } from './flows.mjs';

const person = { username: 'ines', password: 'Jubjub-Bird-9000' };
const device = {
  id: 'sandboxdevice00000000', type: 'Native', name: 'device', description: null, cors: [],
  client: { grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'], response_types: [], redirect_uris: [], token_endpoint_auth_method: 'none' },
};

describe('laxer than one expects', () => {
  let logto;
  let ask;
  before(async () => {
    logto = await startLogto({ seed: { applications: [...defaultSeed.applications, device] } });
    ask = (request) => send(logto.url, request);
  });
  after(() => logto.close());

  const managementToken = async () => (await ask({
    method: 'POST', url: '/oidc/token', headers: { ...form, authorization: basic(m2m.id, m2m.secret) },
    body: { grant_type: 'client_credentials', resource: 'https://default.logto.app/api', scope: 'all' },
  })).body.access_token;
  let n = 0;
  const registered = async () => {
    n += 1;
    const flow = await signIn(logto, { ...person, username: `ines_${n}`, register: true });
    return { ...flow, user: logto.users.findByIdentifier({ type: 'username', value: `ines_${n}` }) };
  };

  test('any one character after Bearer is cut off, and the word has a case', async () => {
    const { tokens, user } = await registered();
    for (const [url, token] of [[`/api/users/${user.id}`, await managementToken()], ['/api/my-account', tokens.access_token]]) {
      for (const separator of [' ', ':', '\t', 'x']) {
        const { status } = await ask({ method: 'PATCH', url, headers: { ...json, authorization: `Bearer${separator}${token}` }, body: { name: `by ${separator}` } });
        assert.equal(status, 200, `${url} ${separator}`);
        assert.equal(logto.users.get(user.id).name, `by ${separator}`);
      }
      for (const refused of [`bearer ${token}`, `Bearer${token}`, `Basic ${token}`]) {
        const { status } = await ask({ method: 'PATCH', url, headers: { ...json, authorization: refused }, body: { name: 'no' } });
        assert.equal(status, 401, refused);
      }
      assert.equal((await ask({ method: 'PATCH', url, headers: json, body: { name: 'no' } })).body.code, 'auth.authorization_header_missing');
    }
    const removed = await ask({ method: 'DELETE', url: `/api/users/${user.id}`, headers: { authorization: `Bearer:${await managementToken()}` } });
    assert.equal(removed.status, 204);
  });

  test('quotes around a cookie are taken off before its signature is checked', async () => {
    const jar = new Jar();
    jar.take((await ask({ url: authorizeUrl(spa.id) })).cookies);
    for (const name of ['_interaction', '_interaction.sig']) jar.set(name, `"${jar.get(name)}"`);
    const { status } = await ask({ method: 'PUT', url: '/api/experience', headers: { ...json, cookie: jar.header }, body: { interactionEvent: 'SignIn' } });
    assert.equal(status, 204);
  });

  test('the account opens to a token whose grant has ended, and names whose it is', async () => {
    const { tokens, user } = await registered();
    const headers = { authorization: `Bearer ${tokens.access_token}` };
    assert.equal((await ask({ url: '/oidc/me', headers })).status, 200);
    await send(logto.control.url, { method: 'DELETE', url: `/grants?user=${user.id}` });
    assert.equal((await ask({ url: '/oidc/me', headers })).status, 401);
    assert.equal((await ask({ url: '/api/my-account', headers })).body.id, user.id);
    const { status } = await ask({ method: 'PATCH', url: '/api/my-account', headers: { ...headers, ...json }, body: { name: 'Still' } });
    assert.equal(status, 200);
    assert.equal(logto.users.get(user.id).name, 'Still');
    assert.equal((await ask({ url: '/api/my-account', headers: { authorization: 'Bearer nobody' } })).body.code, 'auth.unauthorized');
  });

  /** A new browser of a new person, at the consent that follows the submit. */
  async function atConsent() {
    n += 1;
    const username = `ines_${n}`;
    const jar = new Jar();
    const call = async (method, url, body) => {
      const answer = await ask({ method, url, body, headers: { cookie: jar.header, ...(body ? json : {}) } });
      jar.take(answer.cookies);
      assert.ok(answer.status < 400, `${method} ${url}: ${answer.text}`);
      return answer;
    };
    await call('GET', authorizeUrl(spa.id));
    await call('PUT', '/api/experience', { interactionEvent: 'Register' });
    await call('POST', '/api/experience/profile', { type: 'username', value: username });
    await call('POST', '/api/experience/profile', { type: 'password', value: person.password });
    await call('POST', '/api/experience/identification', {});
    const { body } = await call('POST', '/api/experience/submit');
    assert.match((await call('GET', body.redirectTo)).headers.location, /^\/consent\?/);
    return { jar, user: logto.users.findByIdentifier({ type: 'username', value: username }) };
  }

  test('any method, at the consent page and below it, consents; by case', async () => {
    for (const [method, url] of [['GET', '/consent'], ['HEAD', '/consent'], ['POST', '/consent'], ['OPTIONS', '/consent/'], ['DELETE', '/consent/x'], ['GET', '/consent/x/y']]) {
      const { jar, user } = await atConsent();
      assert.equal(user.applicationId, null);
      const { status, headers } = await ask({ method, url, headers: { cookie: jar.header } });
      assert.equal(status, 302, `${method} ${url}`);
      assert.match(headers.location, /\/oidc\/auth\/[\w-]{21}$/);
      assert.equal(logto.users.get(user.id).applicationId, spa.id, `${method} ${url}`);
    }
    const { jar, user } = await atConsent();
    for (const [method, url, status] of [['GET', '/Consent', 200], ['GET', '/consents', 200], ['POST', '/Consent', 404], ['GET', '//consent', 404]]) {
      assert.equal((await ask({ method, url, headers: { cookie: jar.header } })).status, status, url);
    }
    assert.equal(logto.users.get(user.id).applicationId, null);
  });

  test('the consent API names the user, and a page without a session leads elsewhere', async () => {
    const { jar, user } = await atConsent();
    const named = await ask({ url: '/api/interaction/consent', headers: { cookie: jar.header } });
    assert.deepEqual([named.status, named.body.user.id], [200, user.id]);
    assert.equal(logto.users.get(user.id).applicationId, null, 'reading consents to nothing');
    const given = await ask({ method: 'POST', url: '/api/interaction/consent', headers: { ...json, cookie: jar.header }, body: {} });
    assert.match(given.body.redirectTo, /\/oidc\/auth\//);
    assert.equal(logto.users.get(user.id).applicationId, spa.id);

    const madeUp = { cookie: '_interaction=x; _interaction.sig=y' };
    assert.equal((await ask({ url: '/consent', headers: madeUp })).headers.location, `${logto.endpoint}/unknown-session`);
    assert.equal((await ask({ url: '/api/interaction/consent', headers: madeUp })).body.code, 'session.not_found');
    // A sign-in that has only begun is in nobody's session.
    const begun = new Jar();
    begun.take((await ask({ url: authorizeUrl(spa.id) })).cookies);
    const early = await ask({ url: '/api/interaction/consent', headers: { cookie: begun.header } });
    assert.deepEqual([early.status, early.body.code], [400, 'session.not_found']);
    assert.equal((await ask({ url: '/consent', headers: { cookie: begun.header } })).status, 400);
  });

  test('a device resumes below /oidc/device as an authorization resumes below /oidc/auth', async () => {
    const { body: begun } = await ask({ method: 'POST', url: '/oidc/device/auth', headers: form, body: { client_id: device.id, scope: 'openid offline_access', prompt: 'consent' } });
    const jar = new Jar();
    const call = async (method, url, body, headers = json) => {
      const answer = await ask({ method, url, body, headers: { cookie: jar.header, ...(body ? headers : {}) } });
      jar.take(answer.cookies);
      assert.ok(answer.status < 400, `${method} ${url}: ${answer.status} ${answer.text}`);
      return answer;
    };
    const page = await call('GET', `/oidc/device?user_code=${begun.user_code}`);
    const xsrf = page.text.match(/name="xsrf" value="(\w+)"/)[1];
    const confirmed = await call('POST', '/oidc/device', { xsrf, user_code: begun.user_code, confirm: 'yes' }, form);
    assert.match(confirmed.headers.location, /^\/sign-in\?/);
    await registered();
    await call('PUT', '/api/experience', { interactionEvent: 'SignIn' });
    const identifier = { type: 'username', value: `ines_${n}` };
    const { body: verified } = await call('POST', '/api/experience/verification/password', { identifier, password: person.password });
    await call('POST', '/api/experience/identification', verified);
    const { body: { redirectTo } } = await call('POST', '/api/experience/submit');
    assert.match(redirectTo, /\/oidc\/device\/[\w-]{21}$/);
    const resumed = await call('GET', redirectTo);
    assert.match(resumed.headers.location, /^\/consent\?/);
    const consented = await call('GET', resumed.headers.location);
    assert.match(consented.headers.location, /\/oidc\/device\/[\w-]{21}$/);
    await call('GET', consented.headers.location);
    const tokens = await ask({ method: 'POST', url: '/oidc/token', headers: form, body: { grant_type: device.client.grant_types[0], device_code: begun.device_code, client_id: device.id } });
    assert.equal(tokens.status, 200, tokens.text);
  });

  test('an empty Logto-App-Id is none, and the query is decoded', async () => {
    const jar = new Jar();
    for (const { id } of [spa, web]) jar.take((await ask({ url: authorizeUrl(id), headers: { cookie: jar.header } })).cookies);
    const put = (headers, query) => ask({ method: 'PUT', url: `/api/experience${query}`, headers: { ...json, cookie: jar.header, ...headers }, body: { interactionEvent: 'Register' } });
    const encoded = `app_id=%${spa.id.charCodeAt(0).toString(16)}${spa.id.slice(1)}`;
    assert.equal((await put({ 'logto-app-id': '' }, `?x=1&${encoded}&app_id=${web.id}`)).status, 204);
    const state = (headers, query = '') => ask({ url: `/api/experience/interaction${query}`, headers: { cookie: jar.header, ...headers } });
    assert.equal((await state({}, `?app_id=${spa.id}`)).status, 200);
    assert.equal((await state({ 'logto-app-id': '' }, `?app_id=${spa.id}`)).status, 200);
    assert.equal((await state({ 'logto-app-id': web.id }, `?app_id=${spa.id}`)).body.code, 'session.interaction_not_found', 'the header goes first');
  });

  test('a user can be created without anything, and an identity that is missing is told in Logto\'s words', async () => {
    const headers = { ...json, authorization: `Bearer ${await managementToken()}` };
    const { status, body } = await ask({ method: 'POST', url: '/api/users', headers, body: {} });
    assert.deepEqual([status, body.username, body.primaryEmail, body.hasPassword], [200, null, null, false]);
    const missing = await ask({ url: `/api/users/${body.id}/identities/google`, headers });
    assert.equal(missing.status, 404);
    assert.equal(missing.text, '{"code":"user.identity_not_exist","message":"The social account has not been registered yet."}');
  });

  test('single sign-on of the older API signs in and registers without a submit', async () => {
    const begin = async () => {
      const jar = new Jar();
      jar.take((await ask({ url: authorizeUrl(spa.id) })).cookies);
      return (path, body) => ask({ method: 'POST', url: `/api/interaction/single-sign-on/okta/${path}`, headers: { ...json, cookie: jar.header }, body });
    };
    const first = await begin();
    assert.equal((await first('authorization-url', {})).status, 200);
    const claims = { id: 'okta-7', email: 'nils@example.test' };
    assert.equal((await first('authentication', claims)).body.code, 'user.identity_not_exist');
    assert.match((await first('registration')).body.redirectTo, /\/oidc\/auth\//);
    const user = logto.users.findByIdentifier({ type: 'email', value: claims.email });
    const again = await begin();
    await again('authorization-url', {});
    assert.equal((await again('authentication', claims)).status, 200);
    assert.ok(logto.users.get(user.id).lastSignInAt >= user.lastSignInAt);
  });
});

test('a closed origin lets nobody pass without its secret', async (t) => {
  const logto = await startLogto({ originSecret: 'origin-secret' });
  t.after(() => logto.close());
  const status = async (headers) => (await send(logto.url, { url: '/oidc/jwks', headers })).status;
  assert.deepEqual([await status({}), await status({ 'x-proxy-secret': 'guess' }), await status({ 'x-proxy-secret': 'origin-secret' })], [403, 403, 200]);
  logto.admitOnly(['origin-secret', 'new']);
  assert.deepEqual([await status({ 'x-proxy-secret': 'new' }), await status({ 'x-proxy-secret': 'origin-secret' })], [200, 200]);
  logto.admitOnly(['new']);
  assert.deepEqual([await status({ 'x-proxy-secret': 'origin-secret' }), await status({})], [403, 403]);
});

test('who asks is counted by the application that the token names', async (t) => {
  const logto = await startLogto();
  t.after(() => logto.close());
  const heard = [];
  logto.front.onRequest(({ method, path, caller }) => heard.push(`${method} ${path} ${caller}`));
  const token = `e30.${Buffer.from('{"client_id":"app"}').toString('base64url')}.x`;
  for (const authorization of [`Bearer ${token}`, `bearer:${token}`, 'Bearer opaque', undefined]) {
    await send(logto.url, { method: 'PATCH', url: '/api/users/u1', headers: authorization === undefined ? {} : { authorization } });
  }
  const { byRoute } = (await send(logto.control.url, { url: '/counters' })).body;
  assert.deepEqual(byRoute['PATCH /api/users/:id'].byCaller, { app: 2, opaque: 1, nobody: 1 });
  assert.deepEqual(heard.at(-1), 'PATCH /api/users/u1 nobody');
});

test('the list of mutating routes is the router\'s own', async (t) => {
  const logto = await startLogto();
  t.after(() => logto.close());
  const listed = JSON.parse(readFileSync(new URL('../routes.json', import.meta.url), 'utf8'));
  assert.deepEqual(listed, logto.mutatingRoutes);
});
