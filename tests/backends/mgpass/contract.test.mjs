// What mgPass's public documents promise, asked of the stand-in on real workerd:
// sign-in by openid-client, refresh rotation with grace and replay, client
// credentials, the admin's user routes with their awkward statuses, limits,
// audit, the read cache, imported keys, introspection and revocation, and the
// front before it.

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { createRemoteJWKSet, decodeJwt, exportJWK, generateKeyPair, jwtVerify, SignJWT } from 'jose';
import * as openid from 'openid-client';

import { freePort } from '../../sandbox/machine.mjs';
import { applyMigrations, startWorkers } from '../../sandbox/workers.mjs';
import { migrateMgpass, startMgpassFront } from './main.mjs';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const persistTo = mkdtempSync(path.join(tmpdir(), 'mgpass-standin-'));
const CALLBACK = 'http://127.0.0.1:5999/callback';
const AMA = { email: 'ama@example.test', password: 'mgpass-ama-password' };
let sandbox;
let issuer;
let control;
let db;
let admin;
let nth = 0;

before(async () => {
  const port = await freePort();
  issuer = `http://127.0.0.1:${port}`;
  sandbox = await startWorkers({
    persistTo,
    workers: [
      {
        name: 'mgpass-standin',
        config: here('wrangler.toml'),
        port,
        entrypoints: { Control: 0 },
        vars: { ISSUER: issuer },
      },
    ],
    onLog: (line) => console.error(`worker: ${line}`),
  });
  await migrateMgpass(sandbox);
  control = sandbox.workers['mgpass-standin'].entrypoints.Control.url;
  db = await sandbox.database('mgpass-local');
  admin = (await clientCredentials()).access_token;
});

after(async () => {
  await sandbox?.dispose();
  rmSync(persistTo, { recursive: true, force: true });
});

// --- discovery, keys, migrations

test('discovery names the endpoints under the issuer, and nothing undocumented', async () => {
  const body = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json();
  assert.equal(body.issuer, issuer);
  assert.equal(body.token_endpoint, `${issuer}/token`);
  assert.equal(body.authorization_endpoint, `${issuer}/authorize`);
  assert.deepEqual(body.id_token_signing_alg_values_supported, ['ES256']);
  assert.deepEqual(body.grant_types_supported, ['authorization_code', 'refresh_token', 'client_credentials']);
  assert.equal('end_session_endpoint' in body, false);
});

test('keys are public only, survive in the database, and rotate with the old one kept', async () => {
  const first = await jwks();
  assert.equal(first.length, 1);
  assert.deepEqual(Object.keys(first[0]).sort(), ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y']);
  await controlCall('POST', '/signing-key/rotate', {});
  const both = await jwks();
  assert.equal(both.length, 2);
  assert.equal(both[1].kid, first[0].kid);
  assert.equal((await api('GET', '/api/users?limit=1')).status, 200, 'a token of the old key still verifies');
});

test('the schemas of mgPass, the mirror and the stand-in share one database', async () => {
  const directory = here('../../../schema/mirror');
  assert.ok((await applyMigrations({ sandbox, databaseId: 'mgpass-local', directory })).length > 0);
  await migrateMgpass(sandbox);
});

// --- sign-in

test('openid-client signs in on the hosted page with PKCE, and reads userinfo', async () => {
  const config = await discover('app_spa', openid.None());
  const verifier = openid.randomPKCECodeVerifier();
  const address = openid.buildAuthorizationUrl(config, {
    redirect_uri: CALLBACK,
    scope: 'openid profile email offline_access mgpass:admin',
    code_challenge: await openid.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state: 'a state',
    nonce: 'a nonce',
  });
  const { location } = await signInOnPage(address, AMA);
  const tokens = await openid.authorizationCodeGrant(config, location, {
    pkceCodeVerifier: verifier,
    expectedState: 'a state',
    expectedNonce: 'a nonce',
  });
  assert.equal(tokens.scope, 'openid profile email offline_access', 'a scope beyond the role is dropped silently');
  assert.match(tokens.refresh_token, /^rt_/);
  const { sub, email, name } = tokens.claims();
  assert.deepEqual({ sub, email, name }, { sub: 'usr_k3v9d2', email: AMA.email, name: 'Ama Boateng' });
  const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`));
  const { payload, protectedHeader } = await jwtVerify(tokens.access_token, keys, { issuer, audience: 'app_spa' });
  assert.equal(protectedHeader.alg, 'ES256');
  assert.deepEqual(Object.keys(payload), ['iss', 'sub', 'aud', 'scope', 'iat', 'exp', 'jti']);
  assert.equal(payload.exp - payload.iat, 3600);
  assert.deepEqual(await openid.fetchUserInfo(config, tokens.access_token, sub), {
    sub: 'usr_k3v9d2',
    email: AMA.email,
    email_verified: true,
    name: 'Ama Boateng',
    picture: null,
  });
});

test('prompt=none needs a session, then consent, then answers with a code', async () => {
  const silent = (client, cookie, more) =>
    authorizeRaw({ client_id: client, prompt: 'none', state: 's', ...challenge, ...more }, cookie && { cookie });
  assert.equal(errorOf(await silent('app_spa')), 'login_required');
  const { cookie } = await signInOnPage(authorizeAddress({ client_id: 'app_spa', ...challenge }), newcomer);
  const withCode = locationOf(await silent('app_spa', cookie));
  assert.ok(withCode.searchParams.has('code'));
  assert.equal(withCode.searchParams.get('state'), 's');
  assert.equal(errorOf(await silent('app_spa', cookie, { scope: 'openid phone' })), 'consent_required', 'a scope more');
  assert.equal(errorOf(await silent('app_newsroom', cookie)), 'consent_required');
  const page = await authorizeRaw({ client_id: 'app_newsroom' }, { cookie });
  assert.equal(page.status, 200);
  const agreed = await submit(await page.text(), { consent: 'yes' }, { cookie });
  assert.ok(locationOf(agreed).searchParams.has('code'));
  assert.ok(locationOf(await silent('app_newsroom', cookie)).searchParams.has('code'));
});

test('public clients must use PKCE with S256, and redirect URIs are exact but for a loopback port', async () => {
  assert.equal(errorOf(await authorizeRaw({ client_id: 'app_spa' })), 'invalid_request');
  const plain = { code_challenge: 'x', code_challenge_method: 'plain' };
  assert.equal(errorOf(await authorizeRaw({ client_id: 'app_spa', ...plain })), 'invalid_request');
  for (const uri of ['http://127.0.0.1:5999/callback/', 'http://127.0.0.1:5999/', 'http://example.test/callback', 'http://127.0.0.1:5999.example.test/callback']) {
    const response = await authorizeRaw({ client_id: 'app_spa', redirect_uri: uri, ...challenge });
    assert.equal(response.status, 400, uri);
    assert.equal((await response.json()).error, 'redirect_uri_mismatch');
  }
  const other = await authorizeRaw({ client_id: 'app_spa', redirect_uri: 'http://127.0.0.1:41234/callback', ...challenge });
  assert.equal(other.status, 200);
});

test('a code works once, for its client, redirect URI and verifier', async () => {
  const verifier = openid.randomPKCECodeVerifier();
  const asked = { client_id: 'app_newsroom', code_challenge: await openid.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256' };
  const exchange = async (change) => {
    const { location } = await signInOnPage(authorizeAddress(asked), AMA);
    const form = { grant_type: 'authorization_code', code: location.searchParams.get('code'), redirect_uri: CALLBACK, code_verifier: verifier };
    return { form, response: await tokenCall({ ...form, ...change }, newsroom) };
  };
  assert.equal((await exchange({ code_verifier: 'wrong' })).response.status, 400);
  assert.equal((await exchange({ redirect_uri: 'http://127.0.0.1:1/callback' })).response.status, 400);
  const { form, response } = await exchange({});
  assert.equal(response.status, 200);
  assert.equal('refresh_token' in (await response.json()), false, 'no offline_access, no refresh token');
  const again = await tokenCall(form, newsroom);
  assert.equal(again.status, 400);
  assert.equal((await again.json()).error, 'invalid_grant');
});

test('a wrong password, a user without one and a suspended user are refused, and recorded', async () => {
  const user = await createUser();
  const attempt = async (password) => (await postSignIn({ email: user.email, password })).status;
  assert.equal(await attempt('not the password'), 401);
  await api('POST', `/api/users/${user.id}/suspend`);
  assert.equal(await attempt(user.password), 403);
  await db.prepare('UPDATE users SET password_hash = NULL WHERE id = ?').bind(user.id).run();
  assert.equal(await attempt(user.password), 401);
  const history = await (await api('GET', `/api/users/${user.id}/login-history`)).json();
  assert.deepEqual(history.map(({ event_type: type }) => type), Array(3).fill('user.login.failed'));
});

// --- refresh

test('a refresh token rotates; the same one again within the grace window is 409 and harms nothing', async () => {
  const { refresh_token: first } = await issue({ user_id: (await createUser()).id });
  const response = await refresh(first);
  assert.equal(response.status, 200);
  const body = await response.json();
  assert.deepEqual(Object.keys(body), ['access_token', 'token_type', 'expires_in', 'refresh_token']);
  assert.notEqual(body.refresh_token, first);
  const loser = await refresh(first);
  assert.equal(loser.status, 409);
  const { error, error_description: description } = await loser.json();
  assert.deepEqual({ error, description }, { error: 'invalid_grant', description: 'rotation_in_progress' });
  assert.equal((await refresh(body.refresh_token)).status, 200, 'the winner goes on');
});

test('of racing refreshes one wins and the others get 409', async () => {
  const user = await createUser();
  // Several rounds of many, as only some of them really overlap.
  for (let round = 0; round < 6; round += 1) {
    const { refresh_token: token } = await issue({ user_id: user.id });
    const responses = await Promise.all(Array.from({ length: 8 }, () => refresh(token)));
    assert.deepEqual(responses.map(({ status }) => status).sort(), [200, ...Array(7).fill(409)]);
  }
});

test('a replay after the grace window revokes the family and every session of the user', async () => {
  const user = await createUser();
  const stolen = await issue({ user_id: user.id });
  const elsewhere = await issue({ user_id: user.id, client_id: 'app_newsroom' });
  const next = await (await refresh(stolen.refresh_token)).json();
  assert.equal((await userinfo(elsewhere.access_token)).status, 200);
  await controlCall('PATCH', '/settings', { refresh_grace_ms: 0 });
  try {
    const replay = await refresh(stolen.refresh_token);
    assert.equal(replay.status, 401);
    assert.equal((await replay.json()).error, 'invalid_grant');
  } finally {
    await controlCall('PATCH', '/settings', { refresh_grace_ms: 10_000 });
  }
  assert.equal((await refresh(next.refresh_token)).status, 400);
  assert.equal((await refresh(elsewhere.refresh_token, newsroom)).status, 400);
  assert.equal((await userinfo(elsewhere.access_token)).status, 401);
  assert.deepEqual(await (await api('GET', `/api/users/${user.id}/sessions`)).json(), []);
});

test('a suspended user cannot refresh, keeps the token for later, and the issued access token lives on', async () => {
  const user = await createUser();
  const tokens = await issue({ user_id: user.id });
  await api('POST', `/api/users/${user.id}/suspend`);
  assert.equal((await refresh(tokens.refresh_token)).status, 400);
  assert.equal((await userinfo(tokens.access_token)).status, 200);
  await api('POST', `/api/users/${user.id}/unsuspend`);
  assert.equal((await refresh(tokens.refresh_token)).status, 200);
});

test('a refresh token belongs to its client, and roles show in the next access token', async () => {
  const user = await createUser();
  const tokens = await issue({ user_id: user.id, client_id: 'app_newsroom' });
  assert.equal((await refresh(tokens.refresh_token)).status, 400, 'another client');
  assert.equal(decodeJwt(tokens.access_token).scope.includes('articles:read'), false);
  await db.prepare("INSERT INTO user_roles (user_id, role_id, created_at) VALUES (?, 'role_editor', 1)").bind(user.id).run();
  const wider = await issue({ user_id: user.id, client_id: 'app_newsroom' });
  await db.prepare("DELETE FROM user_roles WHERE user_id = ? AND role_id = 'role_editor'").bind(user.id).run();
  assert.equal(decodeJwt(wider.access_token).scope.includes('articles:read'), true);
  const narrowed = await (await refresh(wider.refresh_token, newsroom)).json();
  assert.equal(decodeJwt(narrowed.access_token).scope.includes('articles:read'), false);
});

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

// --- introspection, revocation, logout

test('introspection describes what lives and only says inactive of the rest', async () => {
  const user = await createUser();
  const tokens = await issue({ user_id: user.id });
  const described = await (await introspect(tokens.access_token)).json();
  assert.deepEqual(Object.keys(described), ['active', 'sub', 'scope', 'client_id', 'exp', 'iat', 'iss', 'token_type']);
  assert.deepEqual([described.active, described.sub, described.client_id, described.token_type], [true, user.id, 'app_spa', 'Bearer']);
  const refreshToken = await (await introspect(tokens.refresh_token)).json();
  assert.deepEqual([refreshToken.active, refreshToken.token_type], [true, 'refresh_token']);
  const machine = await (await introspect(admin)).json();
  assert.deepEqual([machine.active, machine.scope], [true, 'mgpass:admin']);
  await db.prepare('UPDATE sessions SET revoked_at = 1 WHERE user_id = ?').bind(user.id).run();
  for (const token of [tokens.access_token, tokens.refresh_token, 'nonsense']) {
    assert.deepEqual(await (await introspect(token)).json(), { active: false });
  }
  assert.equal((await introspect('')).status, 400);
  assert.equal((await introspect(tokens.access_token, ['app_newsroom', 'wrong'])).status, 401);
});

test('revocation ends the refresh token and always answers 200 with nothing', async () => {
  const tokens = await issue({ user_id: (await createUser()).id, client_id: 'app_newsroom' });
  for (const form of [{ token: tokens.refresh_token }, { token: 'nonsense' }, {}]) {
    const response = await formCall('/token/revoke', form, newsroom);
    assert.equal(response.status, 200);
    assert.equal(await response.text(), '');
  }
  assert.equal((await refresh(tokens.refresh_token, newsroom)).status, 400);
  assert.equal((await formCall('/token/revoke', { token: 'x' }, ['app_newsroom', 'wrong'])).status, 401);
});

test('logout ends the browser and the asking application only', async () => {
  const user = await createUser();
  const { cookie } = await signInOnPage(authorizeAddress({ client_id: 'app_spa', ...challenge }), user);
  const elsewhere = await issue({ user_id: user.id, client_id: 'app_newsroom' });
  const target = 'http://127.0.0.1:5999';
  const response = await fetch(`${issuer}/logout?client_id=app_spa&post_logout_redirect_uri=${target}`, { headers: { cookie }, redirect: 'manual' });
  assert.equal(response.status, 302);
  assert.match(response.headers.get('set-cookie'), /^mgpass_session=;.*Max-Age=0/);
  assert.equal(errorOf(await authorizeRaw({ client_id: 'app_spa', prompt: 'none', ...challenge }, { cookie })), 'login_required');
  assert.equal((await refresh(elsewhere.refresh_token, newsroom)).status, 200);
  const plain = await fetch(`${issuer}/logout`, { method: 'POST' });
  assert.deepEqual(await plain.json(), { success: true });
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

// --- calls and pages

const newsroom = ['app_newsroom', 'mgpass-newsroom-secret'];
const newcomer = { email: 'yaw@example.test', password: 'mgpass-yaw-password' };
const challenge = { code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256' };

function newEmail() {
  nth += 1;
  return `person${nth}@example.test`;
}

async function createUser(fields = {}) {
  const given = { email: newEmail(), password: 'a-long-password', ...fields };
  const response = await api('POST', '/api/users', given);
  assert.equal(response.status, 201);
  return { ...given, id: (await response.json()).id };
}

// An administrator of its own, so that one test's limit is not another's.
async function freshAdmin(whole = false) {
  const user = await createUser();
  await db.prepare("INSERT INTO user_roles (user_id, role_id, created_at) VALUES (?, 'role_admin', 1)").bind(user.id).run();
  const tokens = await issue({ user_id: user.id, client_id: 'app_console' });
  return whole ? tokens : tokens.access_token;
}

async function issue({ client_id: clientId = 'app_spa', ...rest }) {
  const response = await controlCall('POST', '/tokens', { client_id: clientId, ...rest });
  assert.equal(response.status, 201);
  return response.json();
}

function api(method, route, body, token = admin, headers = {}) {
  const authorization = `Bearer ${token}`;
  const type = body === undefined ? {} : { 'content-type': 'application/json' };
  return fetch(issuer + route, { method, headers: { authorization, ...type, ...headers }, body: body && JSON.stringify(body) });
}

function controlCall(method, route, body) {
  return fetch(control + route, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
}

function formCall(route, form, [id, secret] = []) {
  const headers = id === undefined ? {} : { authorization: `Basic ${btoa(`${id}:${secret}`)}` };
  return fetch(issuer + route, { method: 'POST', headers, body: new URLSearchParams(form) });
}

function tokenCall(form, client) {
  return formCall('/token', form, client);
}

function refresh(refreshToken, client) {
  const form = { grant_type: 'refresh_token', refresh_token: refreshToken };
  return tokenCall(client === undefined ? { ...form, client_id: 'app_spa' } : form, client);
}

async function clientCredentials() {
  return (await tokenCall({ grant_type: 'client_credentials', scope: 'mgpass:admin other' }, ['app_proxy', 'mgpass-proxy-secret'])).json();
}

function introspect(token, client = newsroom) {
  return formCall('/token/introspect', { token }, client);
}

function userinfo(token) {
  return fetch(`${issuer}/userinfo`, { headers: { authorization: `Bearer ${token}` } });
}

async function jwks() {
  return (await (await fetch(`${issuer}/.well-known/jwks.json`)).json()).keys;
}

async function auditTypes(userId) {
  const { results } = await (await api('GET', `/api/audit?target_id=${userId}`)).json();
  return results.map(({ event_type: type }) => type);
}

function discover(clientId, authentication) {
  return openid.discovery(new URL(issuer), clientId, undefined, authentication, { execute: [openid.allowInsecureRequests] });
}

function authorizeAddress(query) {
  const address = new URL(`${issuer}/authorize`);
  const all = { response_type: 'code', redirect_uri: CALLBACK, scope: 'openid profile', ...query };
  for (const [name, value] of Object.entries(all)) address.searchParams.set(name, value);
  return address;
}

function authorizeRaw(query, headers = {}) {
  return fetch(authorizeAddress(query), { headers, redirect: 'manual' });
}

// Fills in the page's form as a browser would: to the form's own action.
function submit(page, fields, headers = {}) {
  const action = /<form method="post" action="([^"]+)"/.exec(page)[1].replaceAll('&amp;', '&');
  return fetch(new URL(action, issuer), { method: 'POST', headers, body: new URLSearchParams(fields), redirect: 'manual' });
}

async function signInOnPage(address, { email, password }) {
  const page = await fetch(address, { redirect: 'manual' });
  assert.equal(page.status, 200);
  const response = await submit(await page.text(), { email, password, remember: 'on' });
  const [cookie] = response.headers.get('set-cookie').split(';');
  assert.match(cookie, /^mgpass_session=.+/);
  return { location: locationOf(response), cookie };
}

async function postSignIn({ email, password }) {
  const page = await authorizeRaw({ client_id: 'app_spa', ...challenge });
  return submit(await page.text(), { email, password });
}

function locationOf(response) {
  assert.equal(response.status, 302);
  return new URL(response.headers.get('location'));
}

function errorOf(response) {
  return locationOf(response).searchParams.get('error');
}
