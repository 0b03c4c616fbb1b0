// A whole ramp in the sandbox, with writers and readers at work all the time:
// 0, 1, 10, 50, 100, 50, 0 by `wrangler kv key put`, then mgPass slow, failing and
// lying, each during a ramp, until the guard stops it. What served a read is
// counted at the backends. Any miss exits non-zero.
//
//   npm run ramp [-- --users 10000]
//
// A panel of users who are never written is read once in each step; its answers
// must equal Logto's bytes, and each user's side is what the backends saw. Others
// are written and read at once by whoever wrote: an answer older than the last
// acknowledged write is stale.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';

import { userResponse } from '../../harness/backends/logto/users.mjs';
import { controlOf, SECRETS, startSandbox } from '../../harness/sandbox/sandbox.mjs';
import { scratch } from '../../harness/sandbox/scratch.mjs';
import { LEAVE_INTENTS, management, managementToken, pause, until } from '../../harness/sandbox/client.mjs';

const { values: options } = parseArgs({ options: { users: { type: 'string', default: '10000' } } });
const USERS = Number(options.users);
const PANEL = Math.min(1_000, Math.floor(USERS / 2));
const WRITTEN = Math.min(300, Math.floor(USERS / 10));
const LIES = 60;
const READERS = 4;
const WRITERS = 2;
const STEPS = [0, 1, 10, 50, 100, 50, 0];

const root = fileURLToPath(new URL('../../..', import.meta.url));
const { directory: persistTo } = scratch('ramp');
const began = Date.now();
const say = (text) => console.log(`${String(Math.round((Date.now() - began) / 1000)).padStart(4)} s  ${text}`);

const events = [];
const sandbox = await startSandbox({
  persistTo,
  // The guard's minute is a second here and its five minutes ten. Two cores carry
  // everything, so that neither a slow look-up nor their load may count as mgPass's:
  // what is slow is judged by the limit alone, and breaks it clearly.
  vars: {
    // Its own reads of Logto would be counted as well.
    WALK: 'off',
    GUARD_WINDOW_S: '10', GUARD_MAX_P95_PERCENT: '10000', METRICS_FLUSH_MS: '500',
    ELIGIBILITY_DEADLINE_MS: '5000', MGPASS_DEADLINE_MS: '4000', COMPARISONS_PER_SECOND: '1000',
  },
  queueBatchSize: 50,
  onLog: (line) => line.startsWith('{"event"') && events.push({ at: Date.now(), ...JSON.parse(line) }),
});
const logto = controlOf(sandbox.logto);
const mgpass = controlOf(sandbox.mgpass);
const bindings = await sandbox.proxy.getBindings();
const traffic = { isOn: false, loops: [], reads: 0, writes: 0, errors: 0, stale: 0, wrong: 0, seen: [] };
let ticking = true;
let failure;
const cron = (async () => {
  while (ticking) {
    await sandbox.tick().catch(() => {});
    await pause(1_000);
  }
})();
try {
  await ramp();
} catch (error) {
  failure = error;
} finally {
  traffic.isOn = false;
  ticking = false;
  await Promise.allSettled([...traffic.loops, cron]);
  await sandbox.close();
}
if (failure) {
  console.error(`\n${failure.stack}\n\nramp: FAILED`);
  process.exit(1);
}
say('done');
console.log('ramp: passed');
process.exit(0);

async function ramp() {
  const token = await managementToken(`${sandbox.proxy.url}/oidc`);
  const ask = management(sandbox.proxy.url, token);
  await put('stage', 'dual_write', (status) => status.stage === 'dual_write');
  await put('compare_percent', '0', (status) => status.compare_bps === 0);

  // The same ids in each run: whether a share lies within three sigma is drawn once.
  await logto.call('POST', '/users/bulk', { count: USERS, seed: 'ramp' });
  const ids = [...sandbox.logto.users.values()].map(({ id }) => id).filter((id) => !sandbox.logto.users.get(id).isSuspended);
  const everybody = [...sandbox.logto.users.values()].map(({ id }) => id);
  await reconcile(everybody);

  const panel = ids.slice(0, PANEL);
  const written = ids.slice(PANEL, PANEL + WRITTEN);
  const liars = ids.slice(PANEL + WRITTEN, PANEL + WRITTEN + LIES);
  startTraffic(ask, written, ids.slice(PANEL + WRITTEN));

  say(`${everybody.length} users mirrored; ${READERS} readers, ${WRITERS} writers; panel of ${panel.length}`);
  console.log('        asked  realised  within   moved back  stale  wrong  errors  reads  writes');
  const sides = [];
  for (const percent of STEPS) {
    await put('read_percent', String(percent), (status) => status.read_bps === percent * 100);
    // Requests that began under the old percentage are over by then.
    await pause(500);
    sides.push(await step(ask, panel, percent, sides));
  }
  assert.ok(same(sides[3], sides[5]), 'the same users at 50, before and after 100');

  console.log('\n        each during a ramp at 50 %, all reads compared:');
  await put('compare_percent', '100', (status) => status.compare_bps === 10_000);
  await broken('slow', 'latency', {
    inject: () => mgpass.faults([{ match: { path: '^/api/users' }, latency_ms: 1_200 }]),
    mend: () => mgpass.faults([]),
  });
  await broken('failing', 'error_rate', {
    inject: () => mgpass.faults([{ match: { path: '^/api/users' }, status: 503, body: { error: 'unavailable' } }]),
    mend: () => mgpass.faults([]),
  });
  const lied = await lying(ask, liars);
  assert.deepEqual(lied.found, lied.injected, 'every lie found, and nothing else');
  const [{ n: noise }] = await findings(`SELECT count(*) AS n FROM read_findings WHERE subject NOT IN (SELECT value FROM json_each(?1))`, liars);
  assert.equal(noise, 0, 'no finding without a lie');

  traffic.isOn = false;
  await Promise.allSettled(traffic.loops);
  const done = await until('the outbox is empty', async () => (await status()).outbox.n_open === 0, { withinMs: 60_000 });
  assert.ok(done);
  const compared = (await status()).totals.filter(({ metric }) => metric === 'compared');
  const outcomes = compared.map(({ operation, label, count }) => `${operation} ${label} ${count}`).join(', ');
  say(`comparisons: ${outcomes}`);
  say(`reads ${traffic.reads}, writes ${traffic.writes}: errors ${traffic.errors}, stale ${traffic.stale}`);
  assert.equal(traffic.errors, 0, 'client-visible errors');
  assert.equal(traffic.stale, 0, 'stale reads');
}

// Each user is woken by name, as a write would: the mirror as it is, without an import.
async function reconcile(users) {
  const startedAt = Date.now();
  for (let index = 0; index < users.length; index += 100) {
    const batch = users.slice(index, index + 100);
    await sandbox.databases.proxy.prepare(LEAVE_INTENTS).bind(JSON.stringify(batch)).run();
    await bindings.MIRROR_QUEUE.sendBatch(batch.map((subject) => ({ body: { kind: 'reconcile', subject }, contentType: 'json' })));
  }
  const count = () => sandbox.databases.mgpass.prepare('SELECT count(*) AS n FROM logto_mirror').first('n');
  let last = 0;
  await until('everybody mirrored', async () => {
    const n = await count();
    if (n >= last + 2_000) say(`mirrored ${last = n}`);
    return n >= users.length;
  }, { withinMs: 600_000, everyMs: 1_000 });
  say(`mirrored ${users.length} at ${Math.round((users.length * 1_000) / (Date.now() - startedAt))} a second`);
}

function startTraffic(ask, written, others) {
  traffic.isOn = true;
  const acknowledged = new Map();
  const versionOf = (answer) => Number(/"name":"v(\d+)"/.exec(answer.text)?.[1] ?? 0);
  const read = async (id) => {
    const least = acknowledged.get(id) ?? 0;
    const answer = await ask('GET', `/users/${id}`);
    traffic.reads += 1;
    if (answer.status !== 200) fail('read', id, answer);
    else if (versionOf(answer) < least) {
      traffic.stale += 1;
      console.error(`stale: ${id} shows v${versionOf(answer)}, acknowledged v${least}`);
    }
  };
  const fail = (what, id, answer) => {
    traffic.errors += 1;
    console.error(`${what} ${id}: ${answer.status} ${answer.text.slice(0, 200)}`);
  };
  const loop = async (turn) => {
    while (traffic.isOn) {
      await turn().catch((error) => { traffic.errors += 1; console.error(error); });
    }
  };
  const any = (list) => list[Math.floor(Math.random() * list.length)];
  for (let index = 0; index < READERS; index += 1) {
    traffic.loops.push(loop(() => read(Math.random() < 0.3 ? any(written) : any(others))));
  }
  // Each writer has users of its own, so that versions rise.
  for (let index = 0; index < WRITERS; index += 1) {
    const own = written.filter((_, at) => at % WRITERS === index);
    let version = 0;
    traffic.loops.push(loop(async () => {
      const id = any(own);
      version += 1;
      const answer = await ask('PATCH', `/users/${id}`, { name: `v${version}` });
      traffic.writes += 1;
      if (answer.status !== 200) fail('write', id, answer);
      else acknowledged.set(id, version);
      await read(id);
      await pause(100);
      await read(id);
    }));
  }
}

// One pass over the panel; the sides are what the backends saw.
async function step(ask, panel, percent, before) {
  const marks = { reads: traffic.reads, writes: traffic.writes, errors: traffic.errors, stale: traffic.stale };
  const from = Date.now();
  let wrong = 0;
  const queue = [...panel];
  await Promise.all(Array.from({ length: 4 }, async () => {
    for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
      const answer = await ask('GET', `/users/${id}`);
      traffic.reads += 1;
      if (answer.status !== 200) traffic.errors += 1;
      else if (answer.text !== JSON.stringify(userResponse(sandbox.logto.users.get(id)))) wrong += 1;
    }
  }));
  const servedBy = (front) => {
    const seen = front.requests(10_000).filter(({ at, method }) => at >= from && method === 'GET');
    const counts = new Map(panel.map((id) => [`/api/users/${id}`, 0]));
    for (const { path: asked } of seen) if (counts.has(asked)) counts.set(asked, counts.get(asked) + 1);
    return counts;
  };
  const [atLogto, atMgpass] = [servedBy(sandbox.logto.front), servedBy(sandbox.mgpass)];
  const side = new Map(panel.map((id) => {
    const [byLogto, byMgpass] = [atLogto, atMgpass].map((counts) => counts.get(`/api/users/${id}`));
    assert.equal(byLogto + byMgpass, 1, `${id} was read once, at one backend`);
    return [id, byMgpass === 1];
  }));
  const realised = [...side.values()].filter(Boolean).length / panel.length;
  const share = percent / 100;
  const sigma = Math.sqrt((share * (1 - share)) / panel.length);
  // Rising, nobody leaves mgPass; falling, nobody comes to it.
  const previous = before.at(-1);
  const isRising = percent >= STEPS[before.length - 1];
  const movedBack = previous === undefined ? 0
    : panel.filter((id) => (isRising ? previous.get(id) && !side.get(id) : !previous.get(id) && side.get(id))).length;
  const distance = sigma === 0 ? Math.abs(realised - share) : Math.abs(realised - share) / sigma;
  const count = (name) => String(traffic[name] - marks[name]);
  console.log([
    `${String(percent).padStart(11)} %`, `${(realised * 100).toFixed(1)} %`.padStart(9), `${distance.toFixed(1)} sigma`.padStart(10),
    String(movedBack).padStart(11), count('stale').padStart(6), String(wrong).padStart(6), count('errors').padStart(7),
    count('reads').padStart(6), count('writes').padStart(7),
  ].join(' '));
  if (movedBack > 0 || wrong > 0 || distance > 3) console.log(reasonsSince(from), await bindings.FLAGS.get('guard'));
  assert.ok(sigma === 0 ? distance === 0 : distance <= 3, `realised share at ${percent}`);
  assert.deepEqual([movedBack, wrong, count('stale'), count('errors')], [0, 0, '0', '0']);
  return side;
}

// Why reads went where they went, by the proxy's own word: for whoever looks into a miss.
function reasonsSince(from) {
  const counts = {};
  for (const { event, at, fallback, 'plan.reason': reason } of events) {
    if (event === 'request.done' && at >= from) {
      const why = fallback ? `${reason}, fallback ${fallback}` : reason;
      counts[why] = (counts[why] ?? 0) + 1;
    }
  }
  return counts;
}

function same(one, other) {
  return [...one].every(([id, side]) => other.get(id) === side);
}

// A ramp at 50 that goes well for a while, then mgPass breaks until the guard stops it.
async function broken(what, reason, { inject, mend }) {
  await startOver();
  const marks = { ...traffic };
  await inject();
  const { answer: guard, tookMs } = await stopped();
  await mend();
  assert.equal(guard.reason, reason);
  assert.equal(traffic.errors - marks.errors, 0, `client-visible errors while ${what}`);
  assert.equal(traffic.stale - marks.stale, 0, `stale reads while ${what}`);
  const verdict = await lastStop();
  say(`mgPass ${what}: stopped after ${(tookMs / 1000).toFixed(1)} s, reason ${guard.reason}; ${figures(verdict)}; errors 0, stale 0`);
}

async function lying(ask, liars) {
  await startOver();
  const startedAt = Date.now();
  const names = new Map();
  for (const id of liars) {
    names.set(id, await sandbox.databases.mgpass.prepare('SELECT name FROM users WHERE id = ?').bind(id).first('name'));
    await mgpass.call('POST', '/users/alter', { id, column: 'name', value: `not ${names.get(id)}` });
  }
  // mgPass's API may answer from its cache for a second.
  await pause(1_500);
  const guardAt = stopped().then(({ answer }) => ({ guard: answer, tookMs: Date.now() - startedAt }));
  const readAll = async (list) => {
    const queue = [...list];
    await Promise.all(Array.from({ length: 4 }, async () => {
      for (let id = queue.pop(); id !== undefined; id = queue.pop()) await ask('GET', `/users/${id}`);
    }));
  };
  await readAll(liars);
  const { guard, tookMs } = await guardAt;
  assert.equal(guard.reason, 'mismatches');
  // Of class `value`, or `type` where Logto has no name.
  const found = () => findings(`SELECT DISTINCT subject FROM read_findings WHERE path = 'name' ORDER BY subject`);
  const injected = [...liars].sort();
  // A comparison that a slow look-up cut off is made up for by the next read.
  for (let pass = 0; pass < 15; pass += 1) {
    await pause(2_000);
    const seen = new Set((await found()).map(({ subject }) => subject));
    if (seen.size >= injected.length) break;
    await readAll(injected.filter((id) => !seen.has(id)));
  }
  const seen = (await found()).map(({ subject }) => subject);
  const rows = await findings('SELECT control_hash, candidate_hash FROM read_findings');
  assert.ok(rows.every((row) => /^[0-9a-f]{32}$/.test(row.control_hash) && row.control_hash !== row.candidate_hash));
  for (const id of liars) await mgpass.call('POST', '/users/alter', { id, column: 'name', value: names.get(id) });
  say(`mgPass lying: stopped after ${(tookMs / 1000).toFixed(1)} s, reason ${guard.reason}; ${figures(await lastStop())}; lies injected ${injected.length}, found ${seen.length}`);
  return { injected, found: seen };
}

// The guard's key deleted as an operator does it, and some good seconds.
async function startOver() {
  await put('read_percent', '50', (status) => status.read_bps === 5_000);
  // Breakers forget an outage in this time.
  if ((await bindings.FLAGS.get('guard')) !== null) await pause(12_000);
  await put('guard', null, (status) => status.guard === null);
  await pause(6_000);
  assert.equal(await bindings.FLAGS.get('guard'), null, 'no stop while all is well');
}

function stopped() {
  const guard = async () => JSON.parse((await bindings.FLAGS.get('guard')) ?? 'null');
  return until('the guard stops the ramp', guard, { withinMs: 45_000, everyMs: 100 });
}

// The verdict is kept right after the key is written.
async function lastStop() {
  await pause(500);
  const row = await sandbox.databases.metrics.prepare(`SELECT figures FROM verdicts WHERE verdict = 'stop' ORDER BY id DESC LIMIT 1`).first();
  return JSON.parse(row.figures);
}

function figures({ mgpass, logto, mismatched, compared }) {
  const side = (name, { reads, failures, p95_ms: p95 }) => `${name} ${failures} failures of ${reads}, p95 ${p95} ms`;
  return `${side('mgPass', mgpass)}; ${side('Logto', logto)}; ${mismatched} mismatches of ${compared}`;
}

async function findings(sql, list) {
  const statement = sandbox.databases.proxy.prepare(sql);
  return (await (list ? statement.bind(JSON.stringify(list)) : statement).all()).results;
}

async function status() {
  const answer = await fetch(`${sandbox.proxy.url}/_proxy/status`, { headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
  return answer.json();
}

// As an operator does it, from another process; then waits until the proxy has seen it.
async function put(key, value, isSeen) {
  const wrangler = path.join(root, 'node_modules/wrangler/bin/wrangler.js');
  const what = value === null ? ['delete', key] : ['put', key, value];
  await promisify(execFile)(process.execPath, [
    wrangler, 'kv', 'key', ...what, '--binding', 'FLAGS', '--local', '--persist-to', persistTo,
  ], { cwd: root });
  await until(`${key} ${value}`, async () => isSeen(await status()), { withinMs: 20_000, everyMs: 200 });
}
