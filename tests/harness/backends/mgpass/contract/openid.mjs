// What signs people in: discovery, keys, the hosted page, refresh with its grace, introspection, logout.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createRemoteJWKSet, decodeJwt, jwtVerify } from 'jose';
import * as openid from 'openid-client';

import { applyMigrations } from '../../../sandbox/workers.mjs';
import { migrateMgpass } from '../main.mjs';
import {
  AMA,
  CALLBACK,
  admin,
  api,
  authorizeAddress,
  authorizeRaw,
  challenge,
  controlCall,
  createUser,
  db,
  discover,
  errorOf,
  formCall,
  here,
  introspect,
  issue,
  issuer,
  jwks,
  locationOf,
  newcomer,
  newsroom,
  postSignIn,
  refresh,
  sandbox,
  signInOnPage,
  submit,
  tokenCall,
  userinfo,
} from './client.mjs';

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
  const directory = here('../../../../schema/mirror');
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

test('who was brought without a password is asked to set one, by a code to a verified address, and is in', async () => {
  const user = await createUser();
  await db.prepare('UPDATE users SET password_hash = NULL, email_verified = 1 WHERE id = ?').bind(user.id).run();
  const page = await postSignIn({ email: user.email, password: 'the one of before' });
  assert.equal(page.status, 200);
  const text = await page.text();
  assert.match(text, /name="new_password"/);
  const [{ user_id: id, code }] = await (await controlCall('GET', '/mails')).json();
  assert.equal(id, user.id);
  const setting = (fields) => submit(text, { email: user.email, ...fields }, {});
  assert.equal((await setting({ code, new_password: 'short' })).status, 401);
  const wrong = code === '000000' ? '000001' : '000000';
  assert.equal((await setting({ code: wrong, new_password: 'a-new-password' })).status, 401);
  const done = await setting({ code, new_password: 'a-new-password' });
  assert.ok(locationOf(done).searchParams.has('code'));
  assert.equal((await setting({ code, new_password: 'another-password' })).status, 401, 'once');
  const { location } = await signInOnPage(authorizeAddress({ client_id: 'app_newsroom', ...challenge }), { email: user.email, password: 'a-new-password' });
  assert.ok(location.searchParams.has('code'));
  const entries = await db.prepare("SELECT count(*) AS n FROM audit_logs WHERE target_id = ? AND event_type = 'user.password_set'").bind(user.id).first();
  assert.equal(entries.n, 1);
});

test('five tries a code, and nothing without a verified address', async () => {
  const user = await createUser();
  await db.prepare('UPDATE users SET password_hash = NULL, email_verified = 1 WHERE id = ?').bind(user.id).run();
  const text = await (await postSignIn({ email: user.email, password: 'x' })).text();
  const [{ code }] = await (await controlCall('GET', '/mails')).json();
  const wrong = code === '000000' ? '000001' : '000000';
  for (let nth = 0; nth < 5; nth += 1) await submit(text, { email: user.email, code: wrong, new_password: 'a-new-password' }, {});
  assert.equal((await submit(text, { email: user.email, code, new_password: 'a-new-password' }, {})).status, 401);
});

test('who forgot theirs sets another by a code; an unknown address is shown the same', async () => {
  const user = await createUser();
  await db.prepare('UPDATE users SET email_verified = 1 WHERE id = ?').bind(user.id).run();
  const mails = async () => (await (await controlCall('GET', '/mails')).json()).length;
  const before = await mails();
  const unknown = await postSignIn({ email: 'nobody@example.test', forgot: 'on' });
  assert.equal(await mails(), before);
  const page = await postSignIn({ email: user.email, forgot: 'on' });
  const text = await page.text();
  assert.deepEqual([page.status, (await unknown.text()).replaceAll('nobody@example.test', user.email)], [unknown.status, text]);
  const [{ code }] = await (await controlCall('GET', '/mails')).json();
  const setting = (fields) => submit(text, { email: user.email, forgot: 'on', ...fields }, {});
  const wrong = code === '000000' ? '000001' : '000000';
  assert.equal((await setting({ code: wrong, new_password: 'a-new-password' })).status, 401);
  assert.ok(locationOf(await setting({ code, new_password: 'a-new-password' })).searchParams.has('code'));
  assert.equal((await setting({ code, new_password: 'another-password' })).status, 401, 'once');
  const { location } = await signInOnPage(authorizeAddress({ client_id: 'app_newsroom', ...challenge }), { email: user.email, password: 'a-new-password' });
  assert.ok(location.searchParams.has('code'));
  const entries = await db.prepare("SELECT count(*) AS n FROM audit_logs WHERE target_id = ? AND event_type = 'user.password_reset'").bind(user.id).first();
  assert.equal(entries.n, 1);
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
