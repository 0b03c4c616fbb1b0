// The older edition of mgPass's documents (E2) behind the built Worker: the mirror
// carries every kind of write, its read-back takes what E2 shows, and reads moved to
// mgPass have Logto's bytes. Tokens of mgPass are RS256 there, and its paths others.
//
// Steps: a user with everything written through the proxy, read from mgPass; a change
// made at mgPass alone is shown; suspension ends sessions; deletion; a token of mgPass.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { decodeProtectedHeader } from 'jose';

import { scratch } from '../harness/sandbox/scratch.mjs';
import { management, managementToken, mgpassToken, pause, until } from '../harness/sandbox/client.mjs';
import { controlOf, SECRETS, startSandbox } from '../harness/sandbox/sandbox.mjs';

let sandbox;
let store;
let ask;
let direct;
let mgpass;

before(async () => {
  store = scratch();
  sandbox = await startSandbox({ persistTo: store.directory, edition: 'e2', vars: { WALK: 'off' }, tickMs: 1_000 });
  await sandbox.flag('stage', 'dual_write');
  await sandbox.flag('read_percent', '100');
  mgpass = controlOf(sandbox.mgpass);
  const token = await managementToken(`${sandbox.proxy.url}/oidc`);
  ask = management(sandbox.proxy.url, token);
  direct = management(sandbox.logto.url, token);
});

after(async () => {
  await sandbox.close();
  store.remove();
});

async function drained() {
  const open = async () => {
    const answer = await fetch(`${sandbox.proxy.url}/_proxy/status`, { headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
    return (await answer.json()).outbox.n_open;
  };
  await until('an empty outbox', async () => (await open()) === 0, { withinMs: 20_000 });
  // Discharged intents fence reads a little longer.
  await pause(2_300);
}

const served = async () => (await mgpass.counters()).byRoute['GET /api/users/:id']?.count ?? 0;

// The body of the read through the proxy, which mgPass served.
async function fromMgpass(path) {
  const before = await served();
  const read = await ask('GET', path);
  assert.ok((await served()) > before, 'served by mgPass');
  return read;
}

async function equal(path) {
  const read = await fromMgpass(path);
  const truth = await direct('GET', path);
  assert.deepEqual([read.status, read.text, read.headers.get('etag')], [truth.status, truth.text, truth.headers.get('etag')]);
}

test('a user with everything is mirrored and reads byte for byte as Logto has it', async () => {
  const { id } = (await ask('POST', '/users', { username: 'efua', primaryEmail: 'Efua@Example.test', customData: { 2: 'b', 1: 'a' } })).json();
  for (const [method, path, body] of [
    ['PATCH', '', { name: 'Efua', avatar: 'https://cdn.example.test/e.png', primaryPhone: '233200000077', customData: { a: 1, bb: [1.5, 'é'] } }],
    ['PATCH', '/profile', { profile: { givenName: 'E' } }],
    ['PUT', '/identities/google', { userId: 'g-1', details: { id: 'g-1', email: 'e@example.test', name: 'E' } }],
  ]) {
    assert.ok((await ask(method, `/users/${id}${path}`, body)).status < 300);
  }
  await drained();
  await equal(`/users/${id}`);
  await equal(`/users/${id}/custom-data`);
  await equal(`/users/${id}/identities/google`);
  const row = await sandbox.databases.mgpass.prepare('SELECT metadata, avatar FROM users WHERE id = ?').bind(id).first();
  assert.deepEqual(row, { metadata: '{"a":1,"bb":[1.5,"é"]}', avatar: 'https://cdn.example.test/e.png' });

  await mgpass.call('PATCH', '/settings', { read_cache_ms: 0 });
  await mgpass.call('POST', '/users/alter', { id, column: 'avatar', value: 'https://elsewhere.example.test/x.png' });
  assert.equal((await fromMgpass(`/users/${id}`)).json().avatar, 'https://elsewhere.example.test/x.png');
});

test('a suspension owes the older revoke-all, and a deletion is mirrored', async () => {
  const { id } = (await ask('POST', '/users', { username: 'kofi' })).json();
  await drained();
  const { refresh_token: refreshToken } = await mgpass.call('POST', '/tokens', { user_id: id, client_id: 'app_spa', scope: 'openid' });
  assert.ok(refreshToken, 'this edition gives one without offline_access');
  assert.equal((await ask('PATCH', `/users/${id}/is-suspended`, { isSuspended: true })).status, 200);
  await drained();
  await until('the revoke-all', async () => (await mgpass.counters()).byRoute['POST /api/users/:id/sessions/revoke-all']?.byStatus['200'] >= 1);
  const live = 'SELECT count(*) AS n FROM sessions WHERE user_id = ? AND revoked_at IS NULL';
  assert.equal(await sandbox.databases.mgpass.prepare(live).bind(id).first('n'), 0);
  await equal(`/users/${id}`);
  assert.equal((await ask('DELETE', `/users/${id}`)).status, 204);
  await drained();
  const row = await sandbox.databases.mgpass.prepare('SELECT deleted_at FROM users WHERE id = ?').bind(id).first();
  assert.ok(row.deleted_at);
});

test('a token of mgPass is RS256 and reads with it, in Logto\'s shape', async () => {
  const token = await mgpassToken(sandbox.mgpass.url);
  assert.equal(decodeProtectedHeader(token).alg, 'RS256');
  const own = management(sandbox.proxy.url, token);
  const read = await own('GET', '/users/usr_k3v9d2');
  assert.equal(read.status, 200);
  assert.equal(read.json().primaryEmail, 'ama@example.test');
  assert.equal((await own('GET', '/users/nobody000000')).status, 404);
});
