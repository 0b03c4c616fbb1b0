// The admin's user routes with their awkward statuses, and who may call them.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { decodeJwt } from 'jose';

import {
  admin,
  api,
  auditTypes,
  clientCredentials,
  controlCall,
  createUser,
  db,
  freshAdmin,
  issue,
  issuer,
  newEmail,
  newsroom,
  postSignIn,
  refresh,
  tokenCall,
  userinfo,
} from './client.mjs';

// --- client credentials and admin access

test('client credentials give an admin token without refresh or ID token', async () => {
  const body = await clientCredentials();
  assert.deepEqual(Object.keys(body), ['access_token', 'token_type', 'expires_in', 'scope']);
  assert.equal(body.scope, 'mgpass:admin');
  const { sub, aud } = decodeJwt(body.access_token);
  assert.deepEqual({ sub, aud }, { sub: 'app_proxy', aud: 'app_proxy' });
  const wrong = await tokenCall({ grant_type: 'client_credentials' }, ['app_proxy', 'wrong']);
  assert.equal(wrong.status, 401);
  assert.equal((await wrong.json()).error, 'invalid_client');
  const inForm = await tokenCall({ grant_type: 'client_credentials', client_id: 'app_proxy', client_secret: 'mgpass-proxy-secret' });
  assert.equal(inForm.status, 200);
  assert.equal((await tokenCall({ grant_type: 'client_credentials' }, newsroom)).status, 400);
  assert.equal((await tokenCall({ grant_type: 'password' }, newsroom)).status, 400);
});

test('admin routes want the scope: 401 without a token, 403 without the scope, 200 for an administrator', async () => {
  const anonymous = await fetch(`${issuer}/api/users`);
  assert.equal(anonymous.status, 401);
  assert.equal((await anonymous.json()).error, 'unauthorized');
  const person = await issue({ user_id: 'usr_p8w1x5', client_id: 'app_console' });
  assert.equal((await api('GET', '/api/users', undefined, person.access_token)).status, 403);
  const boss = await issue({ user_id: 'usr_admin1', client_id: 'app_console' });
  assert.equal((await api('GET', '/api/users', undefined, boss.access_token)).status, 200);
  await db.prepare("UPDATE sessions SET revoked_at = 1 WHERE user_id = 'usr_admin1'").run();
  assert.equal((await api('GET', '/api/users', undefined, boss.access_token)).status, 401, 'its session was revoked');
});

// --- users

test('a created user has the documented fields in the documented order, default role and audit entry', async () => {
  const email = newEmail();
  const created = await api('POST', '/api/users', { email, password: 'a-long-password', name: 'New', id: 'chosen', custom_data: { a: 1 } });
  assert.equal(created.status, 201);
  const user = await created.json();
  assert.deepEqual(Object.keys(user), [
    'id', 'email', 'email_verified', 'phone', 'phone_verified', 'name', 'avatar_url', 'custom_data',
    'is_suspended', 'suspension_reason', 'created_at', 'last_sign_in_at', 'deleted_at',
  ]);
  assert.match(user.id, /^usr_/);
  assert.match(user.created_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z$/);
  assert.deepEqual([user.email_verified, user.custom_data, user.last_sign_in_at], [false, {}, null]);
  const read = await (await api('GET', `/api/users/${user.id}`)).json();
  assert.deepEqual(read, { ...user, roles: ['mgpass:user'] });
  assert.equal(Object.keys(read).at(-1), 'roles');
  assert.deepEqual(await auditTypes(user.id), ['user.created']);
});

test('a taken email or phone and a missing field are all 400 invalid_request', async () => {
  const user = await createUser({ phone: '+233200009999' });
  for (const body of [
    { email: user.email, password: 'a-long-password' },
    { email: user.email.toUpperCase(), password: 'a-long-password' },
    { email: newEmail(), password: 'a-long-password', phone: '+233200009999' },
    { email: newEmail() },
    { password: 'a-long-password' },
    { email: newEmail(), password: 'short' },
  ]) {
    const response = await api('POST', '/api/users', body);
    assert.equal(response.status, 400, JSON.stringify(body));
    assert.equal((await response.json()).error, 'invalid_request');
  }
});

test('an unknown user is 404 with the code invalid_request', async () => {
  for (const [method, rest] of [['GET', ''], ['PATCH', ''], ['DELETE', ''], ['POST', '/suspend'], ['GET', '/identities'], ['POST', '/sessions/revoke-all']]) {
    const response = await api(method, `/api/users/usr_nobody${rest}`, method === 'PATCH' ? { name: 'x' } : undefined, await freshAdmin());
    assert.equal(response.status, 404, `${method} ${rest}`);
    assert.equal((await response.json()).error, 'invalid_request');
  }
});

test('an update changes what is sent, can mark verified, and refuses an empty one', async () => {
  const user = await createUser();
  const verified = await (await api('PATCH', `/api/users/${user.id}`, { name: 'Renamed', email_verified: true })).json();
  assert.deepEqual([verified.name, verified.email_verified, verified.email], ['Renamed', true, user.email]);
  const email = newEmail();
  const moved = await (await api('PATCH', `/api/users/${user.id}`, { email, name: null })).json();
  assert.deepEqual([moved.email, moved.email_verified, moved.name], [email, false, null]);
  const empty = await api('PATCH', `/api/users/${user.id}`, { is_suspended: true });
  assert.equal(empty.status, 400);
  assert.equal((await postSignIn({ email, password: user.password })).status, 302);
  await api('PATCH', `/api/users/${user.id}`, { password: 'another-password' });
  assert.equal((await postSignIn({ email, password: user.password })).status, 401);
});

test('a delete is soft and final: 204, gone from read, lists and sign-in, the row and its email stay', async () => {
  const user = await createUser();
  const tokens = await issue({ user_id: user.id });
  const deleted = await api('DELETE', `/api/users/${user.id}`);
  assert.equal(deleted.status, 204);
  assert.equal(await deleted.text(), '');
  assert.equal((await api('GET', `/api/users/${user.id}`)).status, 404);
  assert.equal((await api('DELETE', `/api/users/${user.id}`)).status, 404);
  const { data } = await (await api('GET', `/api/users?q=${encodeURIComponent(user.email)}`)).json();
  assert.deepEqual(data, []);
  assert.equal((await postSignIn(user)).status, 401);
  assert.equal((await userinfo(tokens.access_token)).status, 401);
  assert.equal((await refresh(tokens.refresh_token)).status, 400);
  assert.equal((await api('POST', '/api/users', { email: user.email, password: 'a-long-password' })).status, 400);
  const row = await db.prepare('SELECT deleted_at FROM users WHERE id = ?').bind(user.id).first();
  assert.ok(row.deleted_at > 0);
  assert.equal((await api('POST', `/api/users/${user.id}/sessions/revoke-all`, undefined, await freshAdmin())).status, 200);
});

test('suspend answers with the user, unsuspend with success, again and again', async () => {
  const user = await createUser();
  const suspended = await (await api('POST', `/api/users/${user.id}/suspend`, { reason: ' abuse ' })).json();
  assert.deepEqual([suspended.id, suspended.is_suspended, suspended.suspension_reason], [user.id, true, 'abuse']);
  assert.equal('roles' in suspended, false);
  for (let time = 0; time < 2; time += 1) {
    const response = await api('POST', `/api/users/${user.id}/unsuspend`);
    assert.equal(response.status, 200);
    assert.deepEqual(await response.json(), { success: true });
  }
  const read = await (await api('GET', `/api/users/${user.id}`)).json();
  assert.deepEqual([read.is_suspended, read.suspension_reason], [false, null]);
});

test('the list pages newest first by cursor, without roles and without a next cursor', async () => {
  const users = [];
  for (let time = 0; time < 3; time += 1) users.push(await createUser({ name: 'Paged Person' }));
  const seen = [];
  let cursor = '';
  for (let page = 1; page <= 2; page += 1) {
    const body = await (await api('GET', `/api/users?q=paged+person&limit=2${cursor}`)).json();
    assert.deepEqual(Object.keys(body), ['data', 'total', 'page', 'limit', 'has_more']);
    assert.deepEqual([body.total, body.page, body.limit, body.has_more], [3, page, 2, page === 1]);
    assert.equal('roles' in body.data[0], false);
    seen.push(...body.data.map(({ id }) => id));
    cursor = `&cursor=${seen.at(-1)}`;
  }
  assert.deepEqual(seen.toSorted(), users.map(({ id }) => id).sort());
});

test('times come from whole seconds, and last_sign_in_at falls back to the newest session', async () => {
  await db.prepare("INSERT INTO users (id, created_at, metadata) VALUES ('logto1234567', 1700000000, '{\"a\":[1]}')").run();
  const row = await (await api('GET', '/api/users/logto1234567')).json();
  assert.deepEqual(
    [row.created_at, row.email, row.custom_data, row.last_sign_in_at, row.roles],
    ['2023-11-14T22:13:20.000Z', null, { a: [1] }, null, []],
  );
  await issue({ user_id: 'logto1234567' });
  await controlCall('PATCH', '/settings', { read_cache_ms: 1000 });
  const after = await (await api('GET', '/api/users/logto1234567')).json();
  assert.match(after.last_sign_in_at, /\.000Z$/);
});

test('identities are listed newest link first, with the profile parsed', async () => {
  const user = await createUser();
  const insert = db.prepare('INSERT INTO social_identities (id, user_id, provider, provider_user_id, profile_data, created_at) VALUES (?, ?, ?, ?, ?, ?)');
  await db.batch([
    insert.bind('idn_old', user.id, 'google', 'g1', '{"name":"G"}', 10),
    insert.bind('idn_new', user.id, 'apple', 'a1', null, 20),
  ]);
  assert.deepEqual(await (await api('GET', `/api/users/${user.id}/identities`)).json(), [
    { id: 'idn_new', user_id: user.id, provider: 'apple', provider_user_id: 'a1', profile_data: null, created_at: 20 },
    { id: 'idn_old', user_id: user.id, provider: 'google', provider_user_id: 'g1', profile_data: { name: 'G' }, created_at: 10 },
  ]);
});

test('roles: 201, then 409, unknown 404, removal is idempotent', async () => {
  const user = await createUser();
  const assign = (role) => api('POST', `/api/users/${user.id}/roles`, { role_id: role });
  assert.equal((await assign('role_editor')).status, 201);
  const held = await assign('role_editor');
  assert.deepEqual([held.status, (await held.json()).error], [409, 'invalid_request']);
  const unknown = await assign('role_nothing');
  assert.deepEqual([unknown.status, (await unknown.json()).error], [404, 'invalid_request']);
  assert.deepEqual((await (await api('GET', `/api/users/${user.id}`)).json()).roles, ['mgpass:user', 'newsroom:editor']);
  for (let time = 0; time < 2; time += 1) {
    assert.deepEqual(await (await api('DELETE', `/api/users/${user.id}/roles/role_editor`)).json(), { success: true });
  }
});
