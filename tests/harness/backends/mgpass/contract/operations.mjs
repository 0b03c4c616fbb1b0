// Sessions, limits, audit, the read cache, imported keys, control routes and the front.

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';

import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import * as openid from 'openid-client';

import { startMgpassFront } from '../main.mjs';
import {
  admin,
  api,
  auditTypes,
  authorizeAddress,
  challenge,
  control,
  controlCall,
  createUser,
  db,
  freshAdmin,
  issue,
  issuer,
  jwks,
  newEmail,
  newsroom,
  refresh,
  userinfo,
} from './client.mjs';

// --- sessions, limits, audit

test('revoke-all ends sessions and refresh tokens and says how many', async () => {
  const user = await createUser();
  const one = await issue({ user_id: user.id });
  const { refresh_token: newest } = await (await refresh(one.refresh_token)).json();
  await issue({ user_id: user.id, client_id: 'app_newsroom', scope: 'openid' });
  const sessions = await (await api('GET', `/api/users/${user.id}/sessions`)).json();
  assert.deepEqual(sessions.map(({ client_name: name }) => name), ['Newsroom', 'Reader']);
  assert.deepEqual(Object.keys(sessions[0]), ['id', 'client_id', 'client_name', 'client_logo_url', 'device_info', 'ip_address', 'last_active_at', 'created_at']);
  const { access_token: caller } = await issue({ user_id: 'usr_admin1', client_id: 'app_console' });
  const response = await api('POST', `/api/users/${user.id}/sessions/revoke-all`, { reason: 'left' }, caller);
  assert.deepEqual(await response.json(), { success: true, revoked_sessions: 2, revoked_refresh_tokens: 1 });
  assert.equal((await userinfo(one.access_token)).status, 401);
  assert.equal((await refresh(newest)).status, 400);
});

test('revoke-all is limited to five a minute for each administrator', async () => {
  const [{ access_token: caller }, { access_token: other }] = [await freshAdmin(true), await freshAdmin(true)];
  const call = (token) => api('POST', '/api/users/usr_p8w1x5/sessions/revoke-all', undefined, token);
  const responses = [];
  // Eleven, as a minute may turn once between them.
  for (let time = 0; time < 11; time += 1) responses.push(await call(caller));
  const statuses = responses.map(({ status }) => status);
  assert.deepEqual(statuses.slice(0, 5), Array(5).fill(200));
  const limited = responses.find(({ status }) => status === 429);
  assert.ok(limited, 'one of them was refused');
  assert.equal((await limited.json()).error, 'rate_limit_exceeded');
  assert.equal(limited.headers.get('x-ratelimit-limit'), '5');
  assert.equal(limited.headers.get('x-ratelimit-remaining'), '0');
  const retryAfter = Number(limited.headers.get('retry-after'));
  assert.ok(retryAfter >= 1 && retryAfter <= 60);
  assert.equal(Number(limited.headers.get('x-ratelimit-reset')) % 60, 0);
  assert.equal((await call(other)).status, 200);
});

test('the rewards limit holds for each address, and the one on /api/users can be switched on', async () => {
  const rewards = (ip) => fetch(`${issuer}/api/rewards/ledger`, { headers: { 'cf-connecting-ip': ip } });
  assert.equal((await rewards('192.0.2.1')).status, 401);
  const statuses = await Promise.all(Array.from({ length: 201 }, async () => (await rewards('192.0.2.1')).status));
  assert.ok(statuses.includes(429));
  assert.ok(statuses.filter((status) => status === 401).length >= 99);
  assert.equal((await rewards('192.0.2.2')).status, 401);

  const listFrom = async (ip) => (await api('GET', '/api/users?limit=1', undefined, admin, { 'cf-connecting-ip': ip })).status;
  await controlCall('PATCH', '/settings', { users_limit_per_minute: 2 });
  try {
    const limited = [];
    for (let time = 0; time < 5; time += 1) limited.push(await listFrom('192.0.2.3'));
    assert.ok(limited.includes(429), limited.join());
    assert.equal(await listFrom('192.0.2.4'), 200);
  } finally {
    await controlCall('PATCH', '/settings', { users_limit_per_minute: 0 });
  }
});

test('every admin change is in the audit log, newest first, and filters combine', async () => {
  const user = await createUser({ name: 'Audited' });
  await api('PATCH', `/api/users/${user.id}`, { name: 'Audited Twice' });
  await api('POST', `/api/users/${user.id}/suspend`);
  await api('POST', `/api/users/${user.id}/unsuspend`);
  await issue({ user_id: user.id });
  await api('POST', `/api/users/${user.id}/sessions/revoke-all`, undefined, await freshAdmin());
  await api('DELETE', `/api/users/${user.id}`);
  assert.deepEqual(await auditTypes(user.id), [
    'user.deleted', 'user.sessions.revoked_all', 'token.issued', 'session.created',
    'user.unsuspended', 'user.suspended', 'user.updated', 'user.created',
  ]);
  const only = await (await api('GET', `/api/audit?target_id=${user.id}&event_type=user.suspended`)).json();
  assert.equal(only.total, 1);
  const { id, created_at: at, ...entry } = only.results[0];
  assert.match(id, /^aud_/);
  assert.ok(Math.abs(at - Date.now() / 1000) < 60);
  assert.deepEqual(entry, {
    event_type: 'user.suspended',
    actor_type: 'admin',
    actor_id: 'app_proxy',
    actor_name: 'Migration proxy',
    target_type: 'user',
    target_id: user.id,
    target_name: 'Audited Twice',
    client_id: 'app_proxy',
    ip_address: null,
    user_agent: 'node',
    metadata: null,
  });
  assert.equal((await (await api('GET', `/api/audit?target_id=${user.id}&to=1000`)).json()).total, 0);
});

// --- read cache

test('a read may be stale when rows change underneath; own writes and age 0 are not', async () => {
  const user = await createUser({ name: 'Before' });
  const nameNow = async () => (await (await api('GET', `/api/users/${user.id}`)).json()).name;
  await controlCall('PATCH', '/settings', { read_cache_ms: 60_000 });
  try {
    assert.equal(await nameNow(), 'Before');
    await controlCall('POST', '/users/alter', { id: user.id, column: 'name', value: 'Underneath' });
    assert.equal(await nameNow(), 'Before');
    await api('PATCH', `/api/users/${user.id}`, { phone: '+233200005555' });
    assert.equal(await nameNow(), 'Underneath');
    await controlCall('POST', '/users/alter', { id: user.id, column: 'name', value: 'Again' });
    await controlCall('PATCH', '/settings', { read_cache_ms: 0 });
    assert.equal(await nameNow(), 'Again');
    await controlCall('POST', '/users/alter', { id: user.id, column: 'name', value: 'At once' });
    assert.equal(await nameNow(), 'At once');
  } finally {
    await controlCall('PATCH', '/settings', { read_cache_ms: 1000 });
  }
});

// --- imported keys

test('a token of an imported key is accepted until sunset, and only within its bounds', async () => {
  const user = await createUser();
  const logto = 'https://auth.example.test/oidc';
  const { privateKey, publicKey } = await generateKeyPair('ES384', { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), kid: 'logto-key' };
  const now = Math.floor(Date.now() / 1000);
  const sign = ({ iss = logto, iat = now - 60, exp = now + 600, key = privateKey, scope = 'openid email' } = {}) =>
    new SignJWT({ iss, iat, exp, scope, sub: user.id, aud: 'some-resource' })
      .setProtectedHeader({ alg: 'ES384', kid: 'logto-key' })
      .sign(key);
  const status = async (token) => (await userinfo(await token)).status;
  const bounds = { stopped_at: now - 30, max_lifetime: 3600, sunset: now + 3600 };

  assert.equal(await status(sign()), 401, 'before the import');
  assert.equal((await controlCall('POST', '/imported-keys', { issuer: logto, jwk, ...bounds })).status, 201);
  const answer = await userinfo(await sign());
  assert.deepEqual(await answer.json(), { sub: user.id, email: user.email, email_verified: false });
  assert.equal((await api('GET', '/api/users?limit=1', undefined, await sign())).status, 403);
  assert.equal((await api('GET', '/api/users?limit=1', undefined, await sign({ scope: 'mgpass:admin' }))).status, 200);
  const stranger = await generateKeyPair('ES384');
  for (const [why, token] of Object.entries({
    'another key': sign({ key: stranger.privateKey }),
    'another issuer': sign({ iss: 'https://elsewhere.test' }),
    'our own issuer': sign({ iss: issuer }),
    expired: sign({ iat: now - 700, exp: now - 100 }),
    'issued after the stop': sign({ iat: now }),
    'longer than ever': sign({ exp: now + 7200 }),
  })) {
    assert.equal(await status(token), 401, why);
  }
  assert.equal((await jwks()).some(({ kid }) => kid === 'logto-key'), false);
  await controlCall('POST', '/imported-keys', { issuer: logto, jwk, ...bounds, sunset: now - 1 });
  assert.equal(await status(sign()), 401, 'after the sunset');
});

test('a key can be imported as a private PEM, of which only the public half is kept', async () => {
  const user = await createUser();
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = privateKey.export({ type: 'pkcs1', format: 'pem' });
  const imported = await (await controlCall('POST', '/imported-keys', { issuer: 'https://old.test', pem, kid: 'rsa' })).json();
  assert.deepEqual(imported, { issuer: 'https://old.test', kid: 'rsa', alg: 'RS256' });
  const token = await new SignJWT({ sub: user.id, scope: 'openid' })
    .setProtectedHeader({ alg: 'RS256', kid: 'rsa' })
    .setIssuer('https://old.test')
    .setIssuedAt()
    .setExpirationTime('5m')
    .sign(privateKey);
  assert.equal((await userinfo(token)).status, 200);
  const { public_jwk: kept } = await db.prepare("SELECT public_jwk FROM imported_keys WHERE kid = 'rsa'").first();
  assert.deepEqual(Object.keys(JSON.parse(kept)).sort(), ['e', 'kty', 'n']);
});

// --- control routes and the front

test('the dump holds every row as one JSON line, and bulk-delete removes rows', async () => {
  const user = await createUser();
  const dump = async () => (await (await fetch(`${control}/users`)).text()).trim().split('\n').map((line) => JSON.parse(line));
  const ama = (await dump()).find(({ id }) => id === 'usr_k3v9d2');
  assert.deepEqual([ama.metadata, ama.roles, ama.identities[0].profile_data.name], [{ plan: 'press' }, ['mgpass:user', 'newsroom:editor'], 'Ama Boateng']);
  assert.deepEqual(await (await controlCall('POST', '/users/bulk-delete', { ids: [user.id] })).json(), { deleted: 1 });
  assert.equal((await dump()).some(({ id }) => id === user.id), false);
  assert.equal((await controlCall('POST', '/users/alter', { id: 'x', column: 'name = 1 --', value: 1 })).status, 400);
  assert.equal((await fetch(`${issuer}/settings`)).status, 404, 'not on the public port');
});

test('the front forwards bodies and statuses, counts by route, tells the address, and passes control on', async () => {
  const front = await startMgpassFront({ workerUrl: issuer, workerControlUrl: control });
  try {
    const headers = { authorization: `Bearer ${admin}`, 'content-type': 'application/json' };
    const email = newEmail();
    const created = await fetch(`${front.url}/api/users`, { method: 'POST', headers, body: JSON.stringify({ email, password: 'a-long-password' }) });
    assert.equal(created.status, 201);
    const { id } = await created.json();
    assert.equal((await fetch(`${front.url}/api/users/${id}`, { method: 'DELETE', headers })).status, 204);
    const page = await fetch(authorizeAddress({ client_id: 'app_spa', ...challenge }).href.replace(issuer, front.url));
    assert.match(await page.text(), /<form method="post" action="\/authorize\?/);
    const counters = await (await fetch(`${front.control.url}/counters`)).json();
    assert.deepEqual(counters.byRoute['DELETE /api/users/:id'], { count: 1, byStatus: { 204: 1 } });
    assert.equal((await (await fetch(`${front.control.url}/settings`)).json()).refresh_grace_ms, 10_000);
    const audit = await (await api('GET', `/api/audit?target_id=${id}`)).json();
    assert.equal(audit.results[0].ip_address, '127.0.0.1');
  } finally {
    await front.close();
  }
});
