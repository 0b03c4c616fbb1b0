// Logto traffic goes on when the proxy's own stores do not.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { until } from '../harness/sandbox/client.mjs';
import { raw, startOrigin, startProxy } from './support.mjs';

describe('D1 and the Queue down', () => {
  let origin;
  let proxy;
  before(async () => {
    origin = await startOrigin();
    proxy = await startProxy({ origin: origin.url, config: 'tests/e2e/without-databases.toml', migrate: false });
    await proxy.bindings.FLAGS.put('stage', 'dual_write');
    await proxy.bindings.FLAGS.put('read_percent', '100');
  });
  after(async () => {
    await proxy.close();
    await origin.close();
  });

  test('writes and reads go on; what was not recorded is said so', async () => {
    const write = await raw(proxy.port, { method: 'PATCH', path: '/api/users/u1', headers: { authorization: 'Bearer x' }, body: '{}' });
    assert.equal(write.status, 200);
    await until('the gap', () => proxy.events('outbox.gap').length === 1);
    assert.equal(proxy.events('request.done').at(-1)['plan.mirror'], 'gap');
    assert.equal((await raw(proxy.port, { path: '/api/users/u1', headers: { authorization: 'Bearer x' } })).status, 200);
  });
});

describe('settings with faults', () => {
  test('leave a transparent pipe and are all reported', async () => {
    const origin = await startOrigin();
    const proxy = await startProxy({ origin: origin.url, vars: { MGPASS_ORIGIN: 'not an origin', DELETIONS_PER_HOUR: 'many' } });
    await proxy.bindings.FLAGS.put('stage', 'dual_write');
    assert.equal((await raw(proxy.port, { method: 'DELETE', path: '/api/users/u1', headers: { authorization: 'Bearer x' } })).status, 200);
    await until('the events', () => proxy.events('settings.refused').length === 2);
    assert.deepEqual(proxy.events('settings.refused').map(({ setting }) => setting), ['MGPASS_ORIGIN', 'DELETIONS_PER_HOUR']);
    const db = await proxy.workers.database('proxy-local');
    await until('the raised epoch', async () => (await db.prepare("SELECT value FROM counters WHERE name = 'epoch'").first('value')) === 2);
    await proxy.close();
    await origin.close();
  });

  test('without an origin nothing can be served: 500 in the proxy\'s own words', async () => {
    const proxy = await startProxy({ origin: '' });
    const answer = await raw(proxy.port, { path: '/x' });
    assert.deepEqual([answer.status, JSON.parse(answer.body).code], [500, 'proxy.misconfigured']);
    await proxy.close();
  });
});

describe('unreadable flags', () => {
  test('keep the last good value or the safe default, brakes are pulled, and all are reported', async () => {
    const origin = await startOrigin();
    const proxy = await startProxy({ origin: origin.url });
    for (const [key, value] of [['stage', 'clean'], ['read_percent', 'fifty'], ['kill_switch', 'yes'], ['guard', '{']]) await proxy.bindings.FLAGS.put(key, value);
    assert.equal((await raw(proxy.port, { path: '/x' })).status, 200);
    await until('the events', () => proxy.events('flags.refused').length >= 4);
    const refused = Object.fromEntries(proxy.events('flags.refused').map(({ key, code }) => [key, code]));
    assert.deepEqual(refused, { stage: 'unreadable', read_percent: 'unreadable', kill_switch: 'unreadable_pulled', guard: 'unreadable_pulled' });
    const status = await raw(proxy.port, { path: '/_proxy/status', headers: { authorization: 'Bearer operator-of-the-sandbox' } });
    const body = JSON.parse(status.body);
    assert.deepEqual([body.stage, body.read_bps], ['unknown', 0]);
    assert.deepEqual([body.kill_switch, body.guard], [true, { cap_bps: 0, reason: 'unreadable' }]);
    assert.deepEqual(Object.fromEntries(body.refused_flags.map(({ key, code }) => [key, code])), refused);
    await proxy.close();
    await origin.close();
  });

  test('operator routes are closed without the token', async () => {
    const origin = await startOrigin();
    const proxy = await startProxy({ origin: origin.url, vars: { ADMIN_TOKEN: '' } });
    for (const headers of [{}, { authorization: 'Bearer ' }, { authorization: 'Bearer operator-of-the-sandbox' }]) {
      assert.equal((await raw(proxy.port, { path: '/_proxy/status', headers })).status, 401);
    }
    assert.equal(origin.seen.length, 0);
    await proxy.close();
    await origin.close();
  });
});
