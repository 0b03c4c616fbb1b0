// Tokens of two issuers through the proxy, counted at both backends.
//
//  1. introspection: client and token of each issuer, each asked of its owner only
//  2. /oidc/jwks: Logto's own bytes, and the union when the flag says so
//  3. a token request goes to Logto exactly once, whatever becomes of it
//  4. mgPass's token goes to mgPass whatever the percentage says, with itself

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { scratch } from '../harness/sandbox/scratch.mjs';
import { managementToken, pause } from '../harness/sandbox/client.mjs';
import { controlOf, startSandbox } from '../harness/sandbox/sandbox.mjs';

const CLIENTS = {
  logto: ['sandboxm2m00000000000', 'sample-secret-m2m'],
  mgpass: ['app_newsroom', 'mgpass-newsroom-secret'],
};
// Flags are kept for five seconds in the isolate, then refreshed behind a request.
const FLAGS_SEEN_MS = 5_300;

let sandbox;
let logto;
let mgpass;
let person;
const place = scratch();

before(async () => {
  sandbox = await startSandbox({ persistTo: place.directory });
  logto = controlOf(sandbox.logto);
  mgpass = controlOf(sandbox.mgpass);
  await sandbox.flag('stage', 'dual_write');
  person = await mgpass.call('POST', '/tokens', { user_id: 'usr_k3v9d2', client_id: 'app_newsroom', scope: 'openid profile offline_access' });
});
after(async () => {
  await sandbox.close();
  place.remove();
});

async function introspect([id, secret], token, extra = {}) {
  const answer = await fetch(`${sandbox.proxy.url}/oidc/token/introspection`, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(`${id}:${secret}`)}` },
    body: new URLSearchParams({ token, ...extra }),
  });
  return { status: answer.status, body: await answer.json() };
}

const count = async (control, route) => (await control.counters()).byRoute[route]?.count ?? 0;
const served = async () => ({
  logto: await count(logto, 'POST /oidc/token/introspection'),
  mgpass: await count(mgpass, 'POST /token/introspect'),
});

async function countedIntrospection(client, token) {
  await Promise.all([logto.reset(), mgpass.reset()]);
  return { ...(await introspect(client, token)), served: await served() };
}

describe('introspection', () => {
  test('an mgPass token is judged by mgPass, for its own clients', async () => {
    const found = await countedIntrospection(CLIENTS.mgpass, person.access_token);
    assert.deepEqual([found.status, found.body.active, found.body.sub], [200, true, 'usr_k3v9d2']);
    assert.deepEqual(found.served, { logto: 0, mgpass: 1 });
  });
  test('and for Logto\'s clients, whom Logto authenticates without seeing the token', async () => {
    const found = await countedIntrospection(CLIENTS.logto, person.access_token);
    assert.deepEqual([found.status, found.body.active, found.body.sub], [200, true, 'usr_k3v9d2']);
    assert.deepEqual(found.served, { logto: 1, mgpass: 1 });
  });
  test('a Logto client with a wrong secret learns nothing of mgPass', async () => {
    const found = await countedIntrospection([CLIENTS.logto[0], 'wrong'], person.access_token);
    assert.deepEqual([found.status, found.body.error], [401, 'invalid_client']);
    assert.deepEqual(found.served, { logto: 1, mgpass: 0 });
  });
  test('a client without a secret learns nothing of an mgPass token, and mgPass is not asked', async () => {
    for (const [client, status] of [['sandboxspa00000000000', 200], ['app_spa', 401], ['app_newsroom', 401]]) {
      await Promise.all([logto.reset(), mgpass.reset()]);
      const answer = await fetch(`${sandbox.proxy.url}/oidc/token/introspection`, {
        method: 'POST', body: new URLSearchParams({ client_id: client, token: person.access_token }),
      });
      const body = await answer.json();
      assert.equal(answer.status, status, client);
      if (status === 200) assert.deepEqual(body, { active: false });
      assert.deepEqual(await served(), { logto: 1, mgpass: 0 }, client);
    }
  });
  test('an mgPass client with a wrong secret is never shown to Logto', async () => {
    const token = await managementToken(`${sandbox.proxy.url}/oidc`);
    const found = await countedIntrospection([CLIENTS.mgpass[0], 'wrong'], token);
    assert.equal(found.status, 401);
    assert.deepEqual(found.served, { logto: 0, mgpass: 1 });
  });
  test('a Logto token stays with Logto: the request passes as it is', async () => {
    const found = await countedIntrospection(CLIENTS.logto, 'an-opaque-token');
    assert.deepEqual([found.status, found.body], [200, { active: false }]);
    assert.deepEqual(found.served, { logto: 1, mgpass: 0 });
  });
  test('a refresh token of mgPass is asked of mgPass once, and stays usable', async () => {
    const found = await countedIntrospection(CLIENTS.mgpass, person.refresh_token);
    assert.deepEqual([found.body.active, found.body.token_type], [true, 'refresh_token']);
    assert.deepEqual(found.served, { logto: 0, mgpass: 1 });
  });
  test('a signature cannot see what mgPass can: a revoked session', async () => {
    const lost = await mgpass.call('POST', '/tokens', { user_id: 'usr_p8w1x5', client_id: 'app_newsroom', scope: 'openid' });
    assert.equal((await introspect(CLIENTS.logto, lost.access_token)).body.active, true);
    const admin = await mgpass.call('POST', '/tokens', { client_id: 'app_proxy' });
    await fetch(`${sandbox.mgpass.url}/api/users/usr_p8w1x5/sessions/revoke-all`, { method: 'POST', headers: { authorization: `Bearer ${admin.access_token}` }, body: '{}' });
    assert.deepEqual((await introspect(CLIENTS.logto, lost.access_token)).body, { active: false });
  });
});

describe('keys', () => {
  test('/oidc/jwks is Logto\'s own bytes until the flag says otherwise', async () => {
    const get = (url) => fetch(`${url}/oidc/jwks`).then((answer) => answer.text());
    const own = await get(sandbox.logto.url);
    assert.equal(await get(sandbox.proxy.url), own);
    await sandbox.flag('jwks_union', 'on');
    await pause(FLAGS_SEEN_MS);
    await get(sandbox.proxy.url);
    await pause(200);
    const union = JSON.parse(await get(sandbox.proxy.url));
    assert.deepEqual(new Set(union.keys.map(({ issuer }) => issuer)), new Set([sandbox.logto.issuer, sandbox.mgpass.url]));
    for (const { kid } of JSON.parse(own).keys) assert.ok(union.keys.some((jwk) => jwk.kid === kid));
    const open = await fetch(`${sandbox.proxy.url}/_proxy/jwks`);
    assert.deepEqual(await open.json(), union);
    assert.match(open.headers.get('cache-control'), /max-age=300/);
    await sandbox.flag('jwks_union', null);
  });
});

describe('what may be used once is sent once', () => {
  // Cron's walk fetches a token of the proxy's own; it has one from here on.
  before(async () => {
    await sandbox.tick();
    await pause(300);
  });
  const post = (form) => fetch(`${sandbox.proxy.url}/oidc/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa('sandboxm2m00000000000:sample-secret-m2m')}` },
    body: new URLSearchParams(form),
  });
  const counts = async () => {
    const [old, young] = await Promise.all([logto.counters(), mgpass.counters()]);
    const to = ({ byRoute, faultedByRoute }, route) => (byRoute[route]?.count ?? 0) + (faultedByRoute[route]?.count ?? 0);
    return { logto: to(old, 'POST /oidc/token'), mgpass: to(young, 'POST /token') };
  };
  for (const [name, form, fault] of [
    ['a code', { grant_type: 'authorization_code', code: 'c0de', redirect_uri: 'http://127.0.0.1:5999/callback' }],
    ['a refresh token', { grant_type: 'refresh_token', refresh_token: 'opaque' }],
    ['a refresh token of mgPass\'s', { grant_type: 'refresh_token', refresh_token: 'rt_opaque' }],
    ['a refresh token that Logto answers with 503', { grant_type: 'refresh_token', refresh_token: 'opaque' }, { status: 503 }],
    ['a refresh token whose connection breaks', { grant_type: 'refresh_token', refresh_token: 'opaque' }, { reset: true }],
    ['a refresh token used up and its answer lost', { grant_type: 'refresh_token', refresh_token: 'opaque' }, { commit_then: 'reset' }],
  ]) {
    test(`${name} goes to Logto once and to mgPass never`, async () => {
      await Promise.all([logto.reset(), mgpass.reset()]);
      if (fault) await logto.faults([{ match: { path: '/oidc/token' }, ...fault }]);
      await (await post(form)).arrayBuffer();
      await logto.faults([]);
      await sandbox.tick();
      await pause(300);
      assert.deepEqual(await counts(), { logto: 1, mgpass: 0 });
    });
  }
});

describe('a token goes where it came from', () => {
  test('mgPass\'s goes to mgPass at 0 percent and with the kill switch on, as itself', async () => {
    await sandbox.flag('read_percent', '0');
    await sandbox.flag('kill_switch', 'on');
    await pause(FLAGS_SEEN_MS);
    const { access_token: admin } = await mgpass.call('POST', '/tokens', { client_id: 'app_proxy' });
    const read = () => fetch(`${sandbox.proxy.url}/api/users/usr_k3v9d2`, { headers: { authorization: `Bearer ${admin}` } });
    await (await read()).arrayBuffer();
    await pause(200);
    await Promise.all([logto.reset(), mgpass.reset()]);
    const answer = await read();
    assert.deepEqual([answer.status, (await answer.json()).id], [200, 'usr_k3v9d2']);
    assert.equal(await count(logto, 'GET /api/users/:id') + await count(logto, 'GET /api/users/:userId'), 0);
    assert.equal(await count(mgpass, 'GET /api/users/:id'), 1);
    assert.equal(await count(mgpass, 'POST /token'), 0);
  });
});
