// The Management API and the webhooks against the recorded exchanges, then what the contract says beyond them.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { jsonb } from '../users.mjs';
import { signature } from '../webhooks.mjs';
import { exchangesOf, sample } from './client.mjs';
import { basic, form, json, recorded, recordedUser, replay, signIn } from './flows.mjs';

const authorised = (bearer) => (request) => (request.headers.authorization === 'Bearer (jwt)'
  ? { ...request, headers: { ...request.headers, ...bearer } }
  : request);

/** Puts an id of ours where a request names the recorded one. */
const withIds = (rewrite, ids) => (request) => {
  let text = JSON.stringify(rewrite(request));
  for (const [theirs, ours] of Object.entries(ids)) text = text.replaceAll(theirs, ours);
  return JSON.parse(text);
};

describe('Management API, recorded', () => {
  let server;
  before(async () => { server = await recorded(); });
  after(() => server.logto.close());

  test('the life of a user', async () => {
    const { ask, bearer, logto } = server;
    const rewrite = authorised(bearer);
    const ids = {};
    const run = (name, more) => replay(ask, exchangesOf(name), { rewrite: withIds(rewrite, ids), ...more });
    await run('users-create', { onAnswer: ({ body }, { response }) => { ids[response.body.id] = body.id; } });
    const [alice] = Object.values(ids);
    await run('users-create-with-digest', { onAnswer: ({ body }, { response }) => { ids[response.body.id] = body.id; } });
    await run('users-create-id-is-ignored');
    for (const name of ['error-users-create-duplicate-username', 'error-users-create-invalid-body', 'error-users-list-page-size-over-100', 'error-users-not-found', 'error-management-unauthorized']) await run(name);
    await run('users-patch');
    assert.equal(logto.users.get(alice).name, 'Alice B');
    // Not in the sample files one by one, but they are the state that the next recordings start from.
    const patch = (path, body) => ask({ method: 'PATCH', url: `/api/users/${alice}/${path}`, headers: { ...bearer, ...json }, body });
    assert.equal((await patch('custom-data', { customData: { beta: true } })).text, '{"beta":true,"plan":"free"}');
    assert.equal((await patch('profile', { profile: { nickname: 'Al' } })).text, '{"familyName":"Example","givenName":"Alice","nickname":"Al","locale":"en"}');
    for (const name of ['users-patch-password', 'users-password-verify-ok', 'error-users-password-verify-wrong', 'users-put-identity', 'users-suspend', 'users-delete']) await run(name);
  });

  test('roles', async () => {
    const { ask, bearer, logto } = server;
    const ids = { v9utd7acenle: logto.users.create().id };
    // Later requests name the role that the first answer created.
    await replay(ask, exchangesOf('users-roles'), {
      rewrite: withIds(authorised(bearer), ids),
      onAnswer: ({ body }, { name, response }) => { if (name === 'POST /roles') ids[response.body.id] = body.id; },
    });
  });
});

describe('Management API, to the byte', () => {
  let server;
  before(async () => {
    const listed = exchangesOf('users-list-include-password-hash')[0].response.body;
    const [alice] = exchangesOf('users-search')[0].response.body;
    const digest = exchangesOf('users-get')[0].response.body;
    const rows = [...listed.map((user) => recordedUser(user)), recordedUser({ ...alice, passwordDigest: digest.passwordDigest, passwordAlgorithm: 'Argon2i' })];
    const unique = [...new Map(rows.map((row) => [row.id, row])).values()];
    // The recorded list had 20 users; the others are older.
    while (unique.length < 20) unique.push({ createdAt: 1_000 + unique.length, password: null });
    server = await recorded({ seed: { users: unique } });
  });
  after(() => server.logto.close());

  for (const name of ['users-get', 'users-list-page1', 'users-list-include-password-hash', 'users-search']) {
    test(name, async () => {
      const [{ request, response }] = exchangesOf(name);
      const answer = await server.ask({ ...request, headers: { ...server.bearer, 'accept-encoding': 'gzip, deflate' } });
      assert.equal(answer.text, JSON.stringify(response.body));
      for (const header of ['etag', 'link', 'total-number', 'content-type', 'content-encoding', 'vary']) assert.equal(answer.headers[header], response.headers[header], header);
      const again = await server.ask({ ...request, headers: { ...server.bearer, 'if-none-match': response.headers.etag } });
      assert.equal(again.status, 304);
    });
  }
});

describe('Management API, rules', () => {
  let server;
  let call;
  before(async () => {
    server = await recorded();
    call = (method, path, body) => server.ask({ method, url: `/api${path}`, headers: { ...server.bearer, ...(body === undefined ? {} : json) }, body });
  });
  after(() => server.logto.close());

  test('jsonb order, then integer-like members first', async () => {
    const customData = { zz: 1, a: { b: 1, é: 2, aa: 3 }, 10: 'x', 9: 'y', bb: [{ y: 1, x: 2 }] };
    const { body } = await call('POST', '/users', { customData });
    const { text } = await call('GET', `/users/${body.id}/custom-data`);
    assert.equal(text, '{"9":"y","10":"x","a":{"b":1,"aa":3,"é":2},"bb":[{"x":2,"y":1}],"zz":1}');
    assert.equal(JSON.stringify(jsonb(customData)), text);
  });

  test('replace and merge, null and "" clear, uniqueness ignores the case of an e-mail and keeps it', async () => {
    const { body: user } = await call('POST', '/users', { primaryEmail: 'Mixed@Example.test', name: 'N', customData: { a: 1, b: 2 }, profile: { locale: 'en', unknown: 1 } });
    assert.equal(user.primaryEmail, 'Mixed@Example.test');
    assert.deepEqual(user.profile, { locale: 'en' });
    const clash = await call('POST', '/users', { primaryEmail: 'mixed@example.TEST' });
    assert.deepEqual([clash.status, clash.body.code], [422, 'user.email_already_in_use']);
    const { body: patched } = await call('PATCH', `/users/${user.id}`, { customData: { c: 3 }, name: '', primaryEmail: null, profile: { givenName: 'G' } });
    assert.deepEqual([patched.customData, patched.name, patched.primaryEmail, patched.profile], [{ c: 3 }, null, null, { givenName: 'G' }]);
    assert.equal((await call('POST', '/users', { primaryEmail: 'mixed@example.test' })).status, 200);
    const one = await call('PUT', `/users/${user.id}/identities/google`, { userId: 'g1' });
    assert.equal(one.text, '{"google":{"userId":"g1"}}');
    assert.equal((await call('PUT', `/users/${user.id}/identities/google`, { userId: 'g2' })).status, 200);
    const { body: other } = await call('POST', '/users', {});
    const taken = await call('PUT', `/users/${other.id}/identities/google`, { userId: 'g2' });
    assert.deepEqual([taken.status, taken.body.code], [422, 'user.identity_already_in_use']);
    assert.equal((await call('DELETE', `/users/${user.id}/identities/google`)).body.id, user.id);
    assert.equal((await call('DELETE', `/users/${user.id}/identities/google`)).status, 404);
  });

  test('a body without identifier sent twice makes two users', async () => {
    const before = server.logto.users.size;
    await call('POST', '/users', {});
    await call('POST', '/users', {});
    assert.equal(server.logto.users.size, before + 2);
  });

  test('an imported hash is replaced after the first correct password', async () => {
    const { body } = await call('POST', '/users', { passwordDigest: '5f4dcc3b5aa765d61d8327deb882cf99', passwordAlgorithm: 'MD5' });
    assert.equal((await call('POST', `/users/${body.id}/password/verify`, { password: 'password' })).status, 204);
    const { body: after } = await call('GET', `/users/${body.id}?includePasswordHash=true`);
    assert.equal(after.passwordAlgorithm, 'Argon2i');
    assert.match(after.passwordDigest, /^\$argon2i\$v=19\$m=8192,t=8,p=1\$[\w+/]{22}\$[\w+/]{43}$/);
    assert.equal((await call('POST', `/users/${body.id}/password/verify`, { password: 'password' })).status, 204);
  });

  test('a token without the scope is forbidden', async () => {
    const { logto, ask } = server;
    const application = logto.applications.find(({ managementAccess }) => managementAccess);
    const { body } = await ask({
      method: 'POST', url: '/oidc/token', headers: { ...form, authorization: basic(application.id, application.secret) },
      body: { grant_type: 'client_credentials', resource: 'https://default.logto.app/api' },
    });
    assert.equal(JSON.parse(Buffer.from(body.access_token.split('.')[1], 'base64url')).scope, '');
    const refused = await ask({ url: '/api/users', headers: { authorization: `Bearer ${body.access_token}` } });
    assert.deepEqual([refused.status, refused.body.code], [403, 'auth.forbidden']);
  });

  test('pages: past the end, links, exact search', async () => {
    const total = server.logto.users.size;
    const middle = await call('GET', '/users?page=2&page_size=2');
    assert.match(middle.headers.link, /rel="first", .*rel="last", .*page=1&page_size=2>; rel="prev", .*page=3&page_size=2>; rel="next"$/);
    assert.equal(middle.headers['total-number'], String(total));
    assert.deepEqual((await call('GET', '/users?page=500')).body, []);
    for (const query of ['page=0', 'page=x', 'page_size=0', 'page_size=101']) assert.equal((await call('GET', `/users?${query}`)).body.code, 'guard.invalid_pagination', query);
    await call('POST', '/users', { username: 'exact_one', primaryPhone: '4915100' });
    for (const query of ['search.username=exact_one&mode.username=exact', 'search.primaryPhone=4915100&mode.primaryPhone=exact', 'search=%25act_on%25']) {
      assert.deepEqual((await call('GET', `/users?${query}`)).body.map(({ username }) => username), ['exact_one'], query);
    }
  });

  test('suspension ends sessions and tokens', async (t) => {
    const { logto, ask, bearer } = await recorded();
    t.after(() => logto.close());
    const clientId = logto.applications.find(({ type }) => type === 'SPA').id;
    const { tokens, jar } = await signIn(logto, { username: 'susan', password: 'Jubjub-Bird-9000', register: true, clientId, ask });
    const { id } = logto.users.findByIdentifier({ type: 'username', value: 'susan' });
    const me = () => ask({ url: '/oidc/me', headers: { authorization: `Bearer ${tokens.access_token}` } });
    assert.equal((await me()).status, 200);
    await ask({ method: 'PATCH', url: `/api/users/${id}/is-suspended`, headers: { ...bearer, ...json }, body: { isSuspended: true } });
    assert.equal((await me()).status, 401);
    const refresh = await ask({ method: 'POST', url: '/oidc/token', headers: form, body: { grant_type: 'refresh_token', refresh_token: tokens.refresh_token, client_id: clientId } });
    assert.equal(refresh.body.error, 'invalid_grant');
    const authorize = await ask({ url: `/oidc/auth?client_id=${clientId}&redirect_uri=http%3A%2F%2F127.0.0.1%3A5999%2Fcallback&response_type=code&scope=openid&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256`, headers: { cookie: jar.header } });
    assert.match(authorize.headers.location, /^\/sign-in\?/);
  });
});

describe('webhooks', () => {
  test('recorded signatures, shapes and order of members; silent changes stay silent', async (t) => {
    const { signingKey, deliveries } = sample('webhooks');
    for (const { rawBody, headers } of deliveries) assert.equal(signature(signingKey, rawBody), headers['logto-signature-sha-256']);

    const received = [];
    const receiver = http.createServer(async (req, res) => {
      let body = '';
      for await (const chunk of req) body += chunk;
      received.push({ headers: req.headers, body });
      // A failure answer must not lead to a second attempt.
      res.statusCode = 500;
      res.end();
    }).listen(0, '127.0.0.1');
    await once(receiver, 'listening');
    const { logto, ask, bearer } = await recorded();
    t.after(async () => {
      await logto.close();
      receiver.closeAllConnections();
      receiver.close();
    });
    const call = (method, path, body) => ask({ method, url: `/api${path}`, headers: { ...bearer, ...(body === undefined ? {} : json) }, body });
    const hook = await call('POST', '/hooks', {
      name: 'all', config: { url: `http://127.0.0.1:${receiver.address().port}/hook`, headers: { 'x-custom': 'yes' } },
      events: ['User.Created', 'User.Deleted', 'User.Data.Updated', 'User.SuspensionStatus.Updated', 'PostRegister', 'PostSignIn', 'PostResetPassword'],
    });
    assert.equal(hook.status, 201);
    const clientId = logto.applications.find(({ type }) => type === 'SPA').id;

    const settle = async () => { await new Promise(setImmediate); await logto.webhooks.settled(); };
    const { body: user } = await call('POST', '/users', { username: 'alice', password: 'Vorpal-Blade-42' });
    for (const [method, path, body] of [
      ['PATCH', '', { name: 'Alice B' }], ['PATCH', '/custom-data', { customData: { beta: true } }], ['PATCH', '/profile', { profile: { nickname: 'Al' } }],
      ['PATCH', '/password', { password: 'Snicker-Snack-77' }], ['PUT', '/identities/google', { userId: 'g' }], ['POST', '/password/verify', { password: 'Snicker-Snack-77' }],
      ['PATCH', '/is-suspended', { isSuspended: true }], ['PATCH', '/is-suspended', { isSuspended: false }], ['DELETE', '/identities/google'], ['DELETE', ''],
    ]) {
      assert.ok((await call(method, `/users/${user.id}${path}`, body)).status < 300);
      await settle();
    }
    const registered = await signIn(logto, { username: 'bob', password: 'Jubjub-Bird-9000', register: true, clientId, ask });
    await settle();
    await signIn(logto, { username: 'bob', password: 'Jubjub-Bird-9000', clientId, ask });
    await settle();
    await ask({ method: 'PATCH', url: '/api/my-account', headers: { authorization: `Bearer ${registered.tokens.access_token}`, ...json }, body: { name: 'Bob R' } });
    await settle();

    const expected = [
      'User.Created /users', 'User.Data.Updated /users/:userId', 'User.Data.Updated /users/:userId/custom-data', 'User.Data.Updated /users/:userId/profile',
      'User.Data.Updated /users/:userId/password', 'User.SuspensionStatus.Updated /users/:userId/is-suspended', 'User.SuspensionStatus.Updated /users/:userId/is-suspended',
      'User.Deleted /users/:userId', 'User.Created null', 'PostRegister null', 'PostSignIn null', 'User.Data.Updated null',
    ];
    const parsed = received.map(({ body }) => JSON.parse(body));
    assert.deepEqual(parsed.map(({ event, matchedRoute = null }) => `${event} ${matchedRoute}`), expected);

    const keys = (value) => (value && typeof value === 'object' && !Array.isArray(value) ? Object.entries(value).map(([key, item]) => [key, ['customData', 'identities', 'profile', 'details'].includes(key) ? 0 : keys(item)]) : 0);
    for (const [index, body] of parsed.entries()) {
      const { rawBody } = deliveries.find(({ event, matchedRoute }) => event === body.event && matchedRoute === (body.matchedRoute ?? null));
      const recordedBody = JSON.parse(rawBody);
      if (/custom-data|profile/.test(body.matchedRoute)) recordedBody.data = body.data;
      assert.deepEqual(keys(body), keys(recordedBody), expected[index]);
      assert.equal(received[index].headers['logto-signature-sha-256'], signature(hook.body.signingKey, received[index].body));
      assert.equal(received[index].headers['user-agent'], 'Logto (https://logto.io/)');
      assert.equal(received[index].headers['x-custom'], 'yes');
      assert.equal(body.hookId, hook.body.id);
    }
    assert.equal(parsed[8].sessionId, registered.interactionUid);
    assert.equal(parsed[9].sessionId, registered.interactionUid);
    assert.equal(parsed[9].userId, parsed[8].data.id);
    assert.equal(parsed[1].params.userId, user.id);
    assert.equal(logto.webhooks.stats.failed, expected.length);
  });
});
