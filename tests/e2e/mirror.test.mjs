// Writes through the built Worker, both stand-ins behind it: mgPass ends up equal.
//
// Steps: the sandbox in stage dual_write with all reads moved; each write route once;
// wait until the outbox is empty; the read through the proxy (served by mgPass) has
// the bytes of the read at Logto.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { scratch } from '../harness/sandbox/scratch.mjs';
import { management, managementToken, mgpassToken, pause, signIn, until } from '../harness/sandbox/client.mjs';
import { controlOf, SECRETS, startSandbox } from '../harness/sandbox/sandbox.mjs';

for (const alg of ['ES384', 'RS256']) {
  describe(`tokens of Logto signed with ${alg}`, () => {
    let sandbox;
    let store;
    let ask;
    let direct;
    let token;
    const events = [];

    before(async () => {
      store = scratch();
      // The mirror alone: the walk would repair what these tests want to see.
      sandbox = await startSandbox({ persistTo: store.directory, alg, vars: { WALK: 'off' }, tickMs: 1_000, onLog: (line) => line.startsWith('{"event"') && events.push(JSON.parse(line)) });
      await sandbox.flag('stage', 'dual_write');
      await sandbox.flag('read_percent', '100');
      token = await managementToken(`${sandbox.proxy.url}/oidc`);
      ask = management(sandbox.proxy.url, token);
      direct = management(sandbox.logto.url, token);
    });
    after(async () => {
      await sandbox.close();
      store.remove();
    });

    const status = async () => (await fetch(`${sandbox.proxy.url}/_proxy/status`, { headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } })).json();
    const drained = () => until('an empty outbox', async () => (await status()).outbox.n_open === 0, { withinMs: 20_000 });
    const mgpassRow = (id) => sandbox.databases.mgpass.prepare('SELECT * FROM users WHERE id = ?').bind(id).first();

    // The read is served by mgPass (counted there) and has Logto's bytes.
    async function equal(id) {
      await drained();
      // Discharged intents fence reads a little longer.
      await pause(2_300);
      const before = (await controlOf(sandbox.mgpass).counters()).byRoute['GET /api/users/:id']?.count ?? 0;
      const read = await ask('GET', `/users/${id}`);
      const truth = await direct('GET', `/users/${id}`);
      assert.equal(read.status, 200, read.text);
      assert.equal(read.text, truth.text);
      assert.equal(read.headers.get('etag'), truth.headers.get('etag'));
      assert.ok((await controlOf(sandbox.mgpass).counters()).byRoute['GET /api/users/:id'].count > before, 'served by mgPass');
    }

    test('a registration and a sign-in, with the consent that writes applicationId', async () => {
      const origin = sandbox.proxy.url;
      const person = { origin, issuer: `${origin}/oidc`, username: 'kofi', password: 'Jubjub-Bird-9000' };
      const { tokens } = await signIn({ ...person, register: true });
      const id = tokens.claims().sub;
      await equal(id);
      const logto = (await direct('GET', `/users/${id}`)).json();
      assert.equal(logto.applicationId, 'sandboxspa00000000000');
      await signIn(person);
      await equal(id);
      assert.ok((await direct('GET', `/users/${id}`)).json().lastSignInAt > logto.lastSignInAt);
    });

    if (alg === 'RS256') return;

    test('every user write of the Management API', async () => {
      const { id } = (await ask('POST', '/users', { username: 'efua', primaryEmail: 'Efua@Example.test', customData: { 2: 'b', 1: 'a' } })).json();
      await equal(id);
      for (const [method, path, body] of [
        ['PATCH', '', { name: 'Efua', avatar: 'https://cdn.example.test/e.png', primaryPhone: '233200000077', customData: { a: 1, bb: [1.5, 'é'] } }],
        ['PATCH', '/custom-data', { customData: { c: null } }],
        ['PATCH', '/profile', { profile: { givenName: 'E', address: { country: 'GH' } } }],
        ['PATCH', '/password', { password: 'Snicker-Snack-77' }],
        ['PUT', '/identities/google', { userId: 'g-1', details: { id: 'g-1', email: 'e@example.test', name: 'E' } }],
        ['PATCH', '/is-suspended', { isSuspended: true }],
        ['PATCH', '/is-suspended', { isSuspended: false }],
        ['DELETE', '/identities/google', undefined],
        ['PATCH', '', { primaryEmail: null, username: 'efua_2', name: '' }],
      ]) {
        const answer = await ask(method, `/users/${id}${path}`, body);
        assert.ok(answer.status < 300, `${method} ${path}: ${answer.text}`);
      }
      await equal(id);
      const roles = await sandbox.databases.mgpass.prepare('SELECT r.name FROM user_roles u JOIN roles r ON r.id = u.role_id WHERE u.user_id = ?').bind(id).all();
      assert.deepEqual(roles.results.map(({ name }) => name), ['mgpass:user']);
      const audit = await sandbox.databases.mgpass.prepare('SELECT event_type FROM audit_logs WHERE target_id = ? ORDER BY created_at, rowid').bind(id).all();
      assert.equal(audit.results[0].event_type, 'user.created');
    });

    test('the router\'s other spellings write too', async () => {
      const { id } = (await ask('POST', '/Users/', { username: 'yaw_2' })).json();
      assert.equal((await ask('PATCH', `/Users/${id}/`, { name: 'Spelled' })).status, 200);
      await drained();
      assert.equal((await mgpassRow(id)).name, 'Spelled');
    });

    test('two users who swap their addresses', async () => {
      const one = (await ask('POST', '/users', { primaryEmail: 'one@example.test' })).json().id;
      const two = (await ask('POST', '/users', { primaryEmail: 'two@example.test' })).json().id;
      await drained();
      for (const [id, primaryEmail] of [[one, 'three@example.test'], [two, 'one@example.test'], [one, 'two@example.test']]) {
        assert.equal((await ask('PATCH', `/users/${id}`, { primaryEmail })).status, 200);
      }
      await drained();
      assert.deepEqual([(await mgpassRow(one)).email, (await mgpassRow(two)).email], ['two@example.test', 'one@example.test']);
    });

    test('a write that Logto commits and then fails', async () => {
      const { id } = (await ask('POST', '/users', { username: 'late' })).json();
      await drained();
      const logto = controlOf(sandbox.logto);
      await logto.faults([{ match: { method: 'PATCH' }, commit_then: 500, times: 1 }]);
      assert.equal((await ask('PATCH', `/users/${id}`, { name: 'Committed' })).status, 500);
      await drained();
      assert.equal((await mgpassRow(id)).name, 'Committed');
    });

    test('a deletion is soft, final, and frees the address', async () => {
      const first = (await ask('POST', '/users', { primaryEmail: 'again@example.test' })).json().id;
      await drained();
      assert.equal((await ask('DELETE', `/users/${first}`)).status, 204);
      await drained();
      assert.ok((await mgpassRow(first)).deleted_at);
      assert.equal((await ask('GET', `/users/${first}`)).status, 404);
      const second = (await ask('POST', '/users', { primaryEmail: 'again@example.test' })).json().id;
      await drained();
      assert.equal((await mgpassRow(second)).email, 'again@example.test');
    });

    test('a value that mgPass\'s own user holds parks the subject, and takes nothing', async () => {
      const { id } = (await ask('POST', '/users', { primaryEmail: 'ama@example.test' })).json();
      await until('the parking', () => events.some(({ event, reason }) => event === 'mirror.parked' && reason === 'value_taken_at_mgpass'));
      assert.equal(await mgpassRow(id), null);
      assert.equal((await mgpassRow('usr_k3v9d2')).email, 'ama@example.test');
      const read = await ask('GET', `/users/${id}`);
      assert.equal(read.text, (await direct('GET', `/users/${id}`)).text);
      // Gone at Logto, it is parked no longer, and nothing waits.
      assert.equal((await ask('DELETE', `/users/${id}`)).status, 204);
      await drained();
    });

    test('reads fall back while mgPass is slow, failing or broken, and say so', async () => {
      const { id } = (await ask('POST', '/users', { username: 'fallback' })).json();
      await equal(id);
      const mgpass = controlOf(sandbox.mgpass);
      const truth = (await direct('GET', `/users/${id}`)).text;
      for (const [rule, code] of [
        [{ status: 503 }, 'server_error'],
        [{ reset: true }, 'unreachable'],
        [{ latency_ms: 3_000 }, 'timed_out'],
        [{ status: 200, body: 'not json', headers: { 'content-type': 'application/json' } }, 'out_of_contract'],
        [{ status: 404, body: { error: 'invalid_request' } }, 'missing'],
      ]) {
        await mgpass.faults([{ match: { method: 'GET', path: '^/api/users/' }, ...rule }]);
        const read = await ask('GET', `/users/${id}`);
        assert.deepEqual([read.status, read.text], [200, truth], code);
        assert.equal(events.filter(({ event }) => event === 'request.done').at(-1).fallback, code);
      }
      await mgpass.faults([]);
    });

    test('a token of mgPass is answered by mgPass with that token, in Logto\'s shape', async () => {
      const own = management(sandbox.proxy.url, await mgpassToken(sandbox.mgpass.url));
      const read = await own('GET', '/users/usr_k3v9d2');
      assert.equal(read.status, 200);
      assert.equal(read.json().primaryEmail, 'ama@example.test');
      const missing = await own('GET', '/users/nobody000000');
      assert.deepEqual([missing.status, missing.json().code], [404, 'entity.not_found']);
    });

    test('in stage off nothing is recorded, and nobody reads from mgPass until reconciled anew', async () => {
      const { id } = (await ask('POST', '/users', { username: 'epoch' })).json();
      await equal(id);
      await sandbox.flag('stage', 'off');
      await until('stage off', async () => (await status()).stage === 'off', { withinMs: 12_000 });
      assert.equal((await ask('PATCH', `/users/${id}`, { name: 'Unrecorded' })).status, 200);
      await until('the gap', async () => (await status()).outbox.unrecorded === 1);
      await sandbox.flag('stage', 'dual_write');
      await until('stage dual_write', async () => (await status()).stage === 'dual_write', { withinMs: 12_000 });
      const read = await ask('GET', `/users/${id}`);
      assert.equal(read.json().name, 'Unrecorded');
      assert.equal(events.filter(({ event }) => event === 'request.done').at(-1)['plan.reason'], 'not_reconciled');
      assert.equal((await ask('PATCH', `/users/${id}/custom-data`, { customData: { x: 1 } })).status, 200);
      await equal(id);
    });
  });
}
