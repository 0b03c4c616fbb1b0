// Reads moved to mgPass, on workerd. A generated population (gaps, Unicode,
// numeric-looking keys, identities of known and unknown kinds, suspended, huge) is
// mirrored; then every served operation answers Logto's own bytes, from mgPass as
// its counters say; and what changes at mgPass alone is seen.
//
// Steps: bytes, headers, ETag and 304; errors; each column altered alone; what a
// comparison finds, keeps and ignores, and that a client cannot tell a compared read;
// the breaker; the operator's two pages.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { scratch } from '../harness/sandbox/scratch.mjs';
import { controlOf, SECRETS, startSandbox } from '../harness/sandbox/sandbox.mjs';
import { LEAVE_INTENTS, managementToken, pause, until } from '../harness/sandbox/client.mjs';
import { raw } from './support.mjs';

const { directory: persistTo, remove } = scratch('e2e-reads');
const GENERATED = 150;
let sandbox;
let logto;
let mgpass;
let token;
let users;

before(async () => {
  sandbox = await startSandbox({ persistTo, vars: { WALK: 'off', METRICS_FLUSH_MS: '200', ELIGIBILITY_DEADLINE_MS: '5000' } });
  logto = controlOf(sandbox.logto);
  mgpass = controlOf(sandbox.mgpass);
  // Alterations behind mgPass's back must be seen at once.
  await mgpass.call('PATCH', '/settings', { read_cache_ms: 0 });
  token = await managementToken(`${sandbox.proxy.url}/oidc`);
  await flags({ stage: 'dual_write', compare_percent: '0' });
  await logto.call('POST', '/users/bulk', { count: GENERATED });
  for (const extra of extremes()) sandbox.logto.users.create(extra);
  users = [...sandbox.logto.users.values()].map(({ id }) => id);
  const { MIRROR_QUEUE } = await sandbox.proxy.getBindings();
  for (let index = 0; index < users.length; index += 100) {
    const batch = users.slice(index, index + 100);
    await sandbox.databases.proxy.prepare(LEAVE_INTENTS).bind(JSON.stringify(batch)).run();
    await MIRROR_QUEUE.sendBatch(batch.map((subject) => ({ body: { kind: 'reconcile', subject }, contentType: 'json' })));
  }
  const mirrored = () => sandbox.databases.mgpass.prepare('SELECT count(*) AS n FROM logto_mirror').first('n');
  // Whoever is being written is fenced, and for two seconds after: the margin for the clocks of isolate and database.
  const fenced = () => sandbox.databases.proxy.prepare('SELECT count(*) AS n FROM intents WHERE discharged_at IS NULL OR discharged_at >= ?1').bind(Date.now() - 2_500).first('n');
  await until('everybody mirrored', async () => (await mirrored()) >= users.length && (await fenced()) === 0, { withinMs: 60_000 });
  await flags({ read_percent: '100' });
});

after(async () => {
  await sandbox?.close();
  remove();
});

function extremes() {
  const huge = Object.fromEntries(Array.from({ length: 2_000 }, (_, index) => [String((index * 7_919) % 100_003), { 'ключ': `v${index}`, n: index / 7 }]));
  return [
    {},
    { username: 'only_a_name' },
    { name: '', avatar: null, customData: {} },
    { name: 'quotes " \\ and \u2028 \u0001 🦊', customData: { '': 0, __proto_: 1, '"': ['\\', '\u007f', '\ud83e\udd8a'], e: 1e21, f: -0.5, deep: [[[[{ a: [] }]]]] } },
    { primaryPhone: '0041', primaryEmail: 'Mixed.CASE@example.test' },
    { customData: huge },
    {
      identities: {
        google: { userId: 'g-1', details: { 2: 'b', 1: 'a', email: 'x@example.test' } },
        apple: { userId: 'a-1' },
        facebook: { userId: 'f-1', details: {} },
        'my idp': { userId: 'm-1', details: { nested: { z: 1, a: null } } },
      },
    },
    { profile: { nickname: 'Ж', address: { country: 'DE', formatted: 'a\nb' } }, lastSignInAt: 1_700_000_000_001, isSuspended: true },
  ];
}

async function flags(values) {
  for (const [key, value] of Object.entries(values)) await sandbox.flag(key, value);
  // Cron reads the flags anew.
  await sandbox.tick();
}

function ask(origin, route, headers = {}) {
  return fetch(`${origin}/api/users/${route}`, {
    headers: { authorization: `Bearer ${token}`, 'accept-encoding': 'identity', ...headers },
  });
}

const KEPT = ['content-type', 'etag', 'vary'];

async function seen(answer) {
  return {
    status: answer.status,
    ...Object.fromEntries(KEPT.map((name) => [name, answer.headers.get(name)])),
    body: await answer.text(),
  };
}

// The same request to both; true when mgPass served it.
async function sameAsLogto(route, headers) {
  const asked = async () => (await mgpass.counters()).byRoute['GET /api/users/:id']?.count ?? 0;
  const before = await asked();
  const through = await seen(await ask(sandbox.proxy.url, route, headers));
  const isServedByMgpass = (await asked()) > before;
  assert.deepEqual(through, await seen(await ask(sandbox.logto.url, route, headers)), route);
  return isServedByMgpass;
}

test('every user reads byte for byte as Logto has it, from mgPass', async () => {
  for (const id of users) {
    assert.ok(await sameAsLogto(id), id);
    assert.ok(await sameAsLogto(`${id}/custom-data`), id);
    for (const target of Object.keys(sandbox.logto.users.get(id).identities)) {
      assert.ok(await sameAsLogto(`${id}/identities/${encodeURIComponent(target)}`), `${id} ${target}`);
    }
  }
});

test('a client that has the body gets 304, with the same headers', async () => {
  // `fetch` adds cache-control: no-cache to a conditional request; a browser does not.
  const conditional = async (origin, route, etag) => {
    const { port } = new URL(origin);
    const answer = await raw(port, { path: `/api/users/${route}`, headers: { authorization: `Bearer ${token}`, 'if-none-match': etag } });
    return [answer.status, ...KEPT.map((name) => answer.headers[name]), String(answer.body)];
  };
  for (const route of [users[0], `${users[0]}/custom-data`]) {
    const etag = (await ask(sandbox.logto.url, route)).headers.get('etag');
    for (const list of [etag, `W/${etag}`, `"a", ${etag}`, '*']) {
      const answer = await conditional(sandbox.proxy.url, route, list);
      assert.equal(answer[0], 304);
      assert.deepEqual(answer, await conditional(sandbox.logto.url, route, list), list);
    }
    assert.ok(await sameAsLogto(route, { 'if-none-match': '"other"' }));
    assert.ok(await sameAsLogto(route, { 'if-none-match': etag, 'cache-control': 'no-cache' }));
  }
});

test('a missing identity is refused in Logto\'s words, in another language by Logto itself', async () => {
  assert.ok(await sameAsLogto(`${users[0]}/identities/nowhere`));
  const answer = await ask(sandbox.proxy.url, `${users[0]}/identities/nowhere`, { 'accept-language': 'de' });
  assert.equal(answer.status, 404);
  assert.equal((await answer.json()).code, 'user.identity_not_exist');
  assert.ok(!(await sameAsLogto('nobodyatall0')), 'a user who is not there is Logto\'s to refuse');
  assert.ok(!(await sameAsLogto(`${users[0]}?includeSsoIdentities=true`)), 'a query is Logto\'s to judge');
});

test('each column that is altered at mgPass alone is shown', async () => {
  const id = [...sandbox.logto.users.values()].find((user) => user.primaryPhone && user.name && user.avatar === null)?.id ?? users[2];
  const changes = {
    email: 'altered@example.test', phone: '+233209999999', name: 'Altered', avatar: 'https://altered.example.test/a.png',
    metadata: '{"altered":true}', is_suspended: 1, created_at: 1_600_000_000, last_sign_in_at: 1_600_000_001,
  };
  const row = await sandbox.databases.mgpass.prepare('SELECT * FROM users WHERE id = ?').bind(id).first();
  const truth = await (await ask(sandbox.logto.url, id)).text();
  for (const [column, value] of Object.entries(changes)) {
    await mgpass.call('POST', '/users/alter', { id, column, value });
    const shown = await (await ask(sandbox.proxy.url, id)).text();
    assert.notEqual(shown, truth, column);
    assert.equal(Object.keys(JSON.parse(shown)).join(), Object.keys(JSON.parse(truth)).join(), column);
    await mgpass.call('POST', '/users/alter', { id, column, value: row[column] });
    assert.equal(await (await ask(sandbox.proxy.url, id)).text(), truth, `${column}, put back`);
  }
});

test('a compared read is the same to its client, and a difference is found once confirmed', async () => {
  await flags({ compare_percent: '100', read_percent: '0' });
  const [lied, honest] = users.slice(4, 6);
  await mgpass.call('POST', '/users/alter', { id: lied, column: 'metadata', value: '{"plan":"none"}' });
  await sandbox.databases.proxy.prepare('DELETE FROM read_findings').run();
  const names = (answer) => [...answer.headers].filter(([name]) => !/^(date|logto-core-request-id|connection|keep-alive)$/.test(name));
  for (const id of [lied, honest]) {
    for (const route of [id, `${id}/custom-data`]) {
      const through = await ask(sandbox.proxy.url, route);
      const direct = await ask(sandbox.logto.url, route);
      assert.deepEqual(names(through), names(direct));
      assert.equal(await through.text(), await direct.text());
      // An isolate begins one comparison in 50 ms.
      await pause(60);
    }
  }
  const findings = async () => (await sandbox.databases.proxy.prepare('SELECT * FROM read_findings').all()).results;
  await until('both operations found', async () => new Set((await findings()).map(({ operation }) => operation)).size === 2);
  const found = await findings();
  assert.ok(found.every(({ subject }) => subject === lied), JSON.stringify(found));
  assert.ok(found.every(({ control_hash: hash }) => hash === null || /^[0-9a-f]{32}$/.test(hash)));
  assert.ok(!JSON.stringify(found).includes('none'));
  await flags({ read_percent: '100' });
  await sandbox.databases.proxy.prepare('DELETE FROM read_findings').run();
  await (await ask(sandbox.proxy.url, lied)).text();
  await until('found of a read that mgPass served', async () => (await findings()).length > 0);
  await flags({ compare_percent: '0' });
});

test('while mgPass fails every read is answered, and soon mgPass is left alone', async () => {
  const truth = await (await ask(sandbox.logto.url, users[0])).text();
  await mgpass.reset();
  await mgpass.faults([{ match: { path: '^/api/users' }, status: 503 }]);
  for (let number = 0; number < 20; number += 1) {
    const answer = await ask(sandbox.proxy.url, users[0]);
    assert.equal(answer.status, 200);
    assert.equal(await answer.text(), truth);
  }
  const { count } = (await mgpass.counters()).faultedByRoute['GET /api/users/:id'];
  assert.ok(count >= 5 && count <= 7, `asked ${count} times before the breaker opened`);
  await mgpass.faults([]);
  await until('mgPass serves again', async () => {
    await mgpass.reset();
    for (let number = 0; number < 5; number += 1) await (await ask(sandbox.proxy.url, users[0])).text();
    return (await mgpass.counters()).byRoute['GET /api/users/:id']?.count === 5;
  }, { withinMs: 20_000, everyMs: 300 });
});

test('the operator sees counts, findings and verdicts', async () => {
  await pause(500);
  await sandbox.tick();
  const page = (name, key = SECRETS.ADMIN_TOKEN) => fetch(`${sandbox.proxy.url}/_proxy/${name}`, { headers: { authorization: `Bearer ${key}` } });
  assert.equal((await page('metrics', 'guess')).status, 401);
  const metrics = await page('metrics');
  assert.match(metrics.headers.get('content-type'), /^text\/plain; version=0\.0\.4/);
  const text = await metrics.text();
  for (const series of [
    'dual_write_requests_total{operation="users.get",backend="mgpass",status="2xx"}',
    'dual_write_requests_total{operation="users.get",backend="fallback",status="2xx"}',
    'dual_write_read_plans_total{operation="users.get",reason="breaker"}',
    'dual_write_fallbacks_total{operation="users.get",code="server_error"}',
    'dual_write_comparisons_total{operation="users.get",outcome="match"}',
    'dual_write_mismatches_total{operation="users.get_custom_data",class="value"}',
    'dual_write_request_duration_milliseconds_bucket{operation="users.get_identity",backend="mgpass",le="+Inf"}',
  ]) {
    assert.ok(text.includes(series), `${series} not in\n${text}`);
  }
  const status = await (await page('status')).json();
  assert.equal(status.stage, 'dual_write');
  assert.ok(status.findings.length > 0);
  assert.ok(['pass', 'hold', 'stop'].includes(status.verdicts[0].verdict));
  assert.ok(status.verdicts[0].figures.mgpass.reads >= 0);
});
