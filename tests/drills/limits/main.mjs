// Users, ledgers and backlogs at and above each limit of the real platform, through the
// built Worker on workerd, with the limits enforced between it and its bindings
// (enforce.mjs): everybody ends equal or parked with a reason, no job goes on for ever,
// nothing asks for more than the platform gives. No network.
//
//   npm run limits [-- --keep]   ends with `limits: passed`; any miss exits non-zero
//
// What goes on, in this order: an import of light, heavy and too large people; the same
// after the epoch rose, and after every row of mgPass's was changed; points, long ledgers
// among them; most people deleted at Logto behind the proxy's back, the proof of
// equality, the walk, and a replay of all that are parked; writes of large users at once,
// also with the Queue down; reads. A table says for each limit what was at it, what was
// above it, and what happened.

import assert from 'node:assert/strict';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { dwp, group, root, say } from '../import/support.mjs';
import { scratchOr } from '../../harness/sandbox/scratch.mjs';
import { management, managementToken, until } from '../../harness/sandbox/client.mjs';
import { controlOf, SECRETS, startSandbox } from '../../harness/sandbox/sandbox.mjs';

const { values: options } = parseArgs({ options: { keep: { type: 'boolean' } } });

const MAX_ROW = 2_000_000;
const MAX_ANSWER = 2 * 1024 * 1024;
const MAX_MEMORY = 64 * 1024 * 1024;
const LIGHT = 1_500;
const GONE = 1_100;
const LEDGERS = { users: 100, entries: 1_660 };
const LONG_LEDGER = 150_000;

const table = [];
const row = (limit, at, above, happened) => table.push([limit, at, above, happened]);

/** An object whose JSON has so many bytes; quotes, which double when written into JSON once more. */
function customData(bytes) {
  return { q: '"'.repeat(Math.floor((bytes - 8) / 2)) };
}

const person = (id, n, more = {}) => ({ id, createdAt: Date.UTC(2024, 0, 1) + n * 1_000, ...more });

/** Weights of users whom a page, or a row, can just take, and of those beyond. */
function people() {
  const rows = [];
  const add = (id, more) => rows.push(person(id, rows.length, more));
  for (let n = 0; n < LIGHT; n += 1) add(`light${String(n).padStart(7, '0')}`, { name: `Light ${n}`, primaryEmail: `l${n}@example.test` });
  // A page of 100 at a time is more than an answer; 25 of the next are more than one value.
  for (let n = 0; n < 120; n += 1) add(`dense${String(n).padStart(7, '0')}`, { customData: customData(18_000) });
  for (let n = 0; n < 40; n += 1) add(`heavy${String(n).padStart(7, '0')}`, { customData: customData(80_000) });
  add('megabyte0001', { customData: customData(1_000_000) });
  add('atrowlimit01', { customData: customData(1_994_000) });
  const details = { rawData: '"'.repeat(400_000) };
  add('socialheavy1', { identities: { google: { userId: 'g-heavy', details }, facebook: { userId: 'f-heavy', details: {} } } });
  add('aboverow0001', { customData: customData(MAX_ROW + 4_000) });
  add('aboveanswer1', { customData: customData(MAX_ANSWER) });
  return rows;
}

const TOO_LARGE = ['aboverow0001', 'aboveanswer1'];

async function main(sandbox) {
  const { logto, databases } = sandbox;
  const limits = (method = 'GET', body) => fetch(`${sandbox.proxy.url}/__limits`, { method, body: body && JSON.stringify(body) }).then((answer) => answer.json());
  // Cron runs when it is called for: every second it would do nothing but walk.
  const withCron = (what, ask, options) => until(what, async () => {
    await sandbox.tick();
    return ask();
  }, options);
  const memory = async () => (await statusOf(sandbox)).memory_bytes_of_this_isolate;
  const step = async (line) => say(`${line}; memory ${mb(await memory())}`);
  const first = async (store, sql, ...values) => databases[store].prepare(sql).bind(...values).first();
  await controlOf(sandbox.mgpass).call('PATCH', '/settings', { users_limit_per_minute: 0 });
  await sandbox.flag('stage', 'dual_write');

  const all = people();
  for (let from = 0; from < all.length; from += 200) await controlOf(logto).call('POST', '/users/rows', all.slice(from, from + 200));
  const total = all.length;
  const nParked = TOO_LARGE.length;
  say(`${group(total)} people at Logto, ${nParked} of them too large for mgPass or to be read`);

  const imported = async (what) => {
    const job = (await dwp(sandbox.proxy.url, ['import', 'users', '--watch', '--json'], { allowed: [0, 1] })).json();
    await step(`${what}: ${JSON.stringify(job.outcomes)} ${JSON.stringify(job.parked)} in ${job.pages} pages, ${group(job.statements)} statements`);
    const { equal, parked } = job.outcomes;
    assert.deepEqual([job.state, job.total, equal, parked], ['done', total, total - nParked, nParked], JSON.stringify(job));
    assert.deepEqual(job.parked, { too_large: nParked });
    return job;
  };
  const compared = async () => (await dwp(sandbox.proxy.url, ['report', '--run', '--json'], { allowed: [0, 1] })).json().report;

  await imported('first import');
  await first('proxy', "UPDATE counters SET value = value + 1 WHERE name = 'epoch'");
  await imported('import with everybody renewed');
  await first('mgpass', "UPDATE users SET name = 'changed at mgPass', metadata = '{}' WHERE id IN (SELECT user_id FROM logto_mirror)");
  await imported('import with everybody different');
  const { value: byImport } = (await limits()).largest;
  row('value bound to a statement, 2,000,000 B', '120 users of 18 kB, 40 of 80 kB, one of 1 MB', 'their page as one value', `written in several values, the largest ${group(byImport)} B`);

  const rows = await Promise.all([
    first('mgpass', 'SELECT max(length(CAST(metadata AS BLOB))) AS n FROM users'),
    first('mgpass', 'SELECT max(length(CAST(residue AS BLOB))) AS n FROM logto_mirror'),
    first('mgpass', 'SELECT max(length(CAST(profile_data AS BLOB))) AS n FROM social_identities'),
  ]);
  const largestRow = Math.max(...rows.map(({ n }) => n));
  assert.ok(largestRow > 1_990_000 && largestRow <= MAX_ROW, `${largestRow}`);
  row('row, 2,000,000 B', `a user of ${group(largestRow)} B`, `a user of ${group(MAX_ROW + 4_000)} B`, 'equal; parked too_large, nobody else waits');
  row('answer read of a backend, 2,097,152 B (ours)', '100 users of 18 kB as a page', `a user of ${group(MAX_ANSWER)} B`, 'the page in smaller ones; parked too_large');

  // Points: ledgers of many, and one that no invocation takes.
  await fillPoints(databases.rewards);
  const nEntries = LEDGERS.users * LEDGERS.entries + LONG_LEDGER;
  const points = (await dwp(sandbox.proxy.url, ['import', 'points', '--watch', '--json'], { allowed: [0, 1] })).json();
  await step(`points: ${JSON.stringify(points.outcomes)}, ${group(points.added)} entries in ${points.pages} pages`);
  assert.deepEqual([points.state, points.outcomes.equal, points.added], ['done', LEDGERS.users + 1, nEntries], JSON.stringify(points));
  const { drifted } = await controlOf(sandbox.mgpass).call('POST', '/rewards/reconcile');
  assert.deepEqual(drifted, []);
  const { kinds: byPoints } = await limits();
  row('D1 queries of an invocation, 1,000', `${LEDGERS.users} ledgers of ${group(LEDGERS.entries)} entries`, `one ledger of ${group(LONG_LEDGER)} entries`, `${points.pages} pages, at most ${byPoints['queue jobs'].queries} queries each; balances explained`);
  assert.ok((await compared()).is_equal === false, 'who is too large is not equal');

  // Gone at Logto, past the proxy.
  for (let n = 0; n < GONE; n += 1) logto.users.delete(`light${String(n).padStart(7, '0')}`);
  const gone = await compared();
  await step(`${group(GONE)} people deleted at Logto behind the proxy: the report names ${group(gone.gone_at_logto)}`);
  assert.equal(gone.gone_at_logto, GONE);
  row('the same', 'pages of 500 of mgPass\'s users', `${group(GONE)} of them gone at Logto, two calls and six queries each`, 'all named, in as many pages as it takes');
  const parkedBy = async (reason) => (await first('proxy', 'SELECT count(*) AS n FROM subjects WHERE parked = ?1', reason)).n;
  await withCron('the walk has found them, and the mirror parked them', async () => (await parkedBy('deletion_unconfirmed')) === GONE, { withinMs: 180_000, everyMs: 500 });
  await step('the walk found them');
  const replayed = (await dwp(sandbox.proxy.url, ['replay', '--all', '--json'])).json();
  assert.deepEqual([replayed.subjects >= GONE + 1, replayed.remaining], [true, 0], JSON.stringify(replayed));
  await withCron('all of them were looked at again', async () => (await first('proxy', "SELECT count(*) AS n FROM subjects WHERE parked = 'deletion_unconfirmed' AND last_outcome = 'parked'")).n === GONE, { withinMs: 120_000, everyMs: 500 });
  await step(`replay --all: ${group(replayed.subjects)}`);
  const { largest: bySending } = await limits();
  row('messages of one call, 100 or 256,000 B', '100 wake-ups', `replay --all: ${group(replayed.subjects)} parked`, `pages, at most ${bySending.messages} messages and ${group(bySending.sent)} B a call; 0 remain`);

  // Large users at once, by one batch of the Queue.
  const ask = management(sandbox.proxy.url, await managementToken(`${sandbox.proxy.url}/oidc`));
  const heavy = all.filter(({ id, customData: data }) => data && !TOO_LARGE.includes(id)).map(({ id }) => id).slice(-22);
  await Promise.all(heavy.map((id) => ask('PATCH', `/users/${id}`, { name: 'written at once' })));
  const body = { customData: customData(940_000) };
  assert.equal((await ask('PATCH', '/users/light0001400', body)).status, 200);
  const open = async () => (await first('proxy', 'SELECT count(*) AS n FROM intents i LEFT JOIN subjects s ON s.subject = i.subject WHERE i.discharged_at IS NULL AND s.parked IS NULL')).n;
  await withCron('they are mirrored', async () => (await open()) === 0, { withinMs: 120_000, everyMs: 200 });

  await step('large users written at once');

  // The Queue is down: cron delivers by itself.
  const { kinds: before } = await limits('PUT', { queue_down: true });
  for (let n = GONE; n < GONE + 300; n += 1) assert.equal((await ask('PATCH', `/users/light${String(n).padStart(7, '0')}`, { name: `Without the Queue ${n}` })).status, 200);
  assert.equal(await open(), 300);
  await withCron('cron has delivered them', async () => (await open()) === 0, { withinMs: 180_000, everyMs: 500 });
  await step('300 writes without the Queue');
  const { kinds: byCron } = await limits('PUT', { queue_down: false });
  row('D1 queries of an invocation, 1,000', 'cron with nothing to do', '300 writes and no Queue', `${byCron.cron.invocations - before.cron.invocations} runs of cron delivered them, at most ${byCron.cron.queries} queries each`);

  // Reads of what is at the limit, from mgPass, as Logto answers.
  await sandbox.flag('read_percent', '100');
  await until('the flag is seen', async () => (await statusOf(sandbox)).read_bps === 10_000, { withinMs: 60_000, everyMs: 500 });
  const direct = management(logto.url, await managementToken(`${sandbox.proxy.url}/oidc`));
  for (const id of ['atrowlimit01', 'megabyte0001', 'aboverow0001']) {
    const [one, other] = await Promise.all([ask('GET', `/users/${id}`), direct('GET', `/users/${id}`)]);
    assert.deepEqual([one.status, one.text === other.text], [200, true], id);
  }

  await step('large users read from mgPass');
  const end = await compared();
  assert.deepEqual([end.unexplained, end.gone_at_logto, end.differing + end.missing_at_mgpass], [0, GONE, nParked - 1 + GONE], JSON.stringify(end));
  const jobs = await databases.proxy.prepare("SELECT kind, state, count(*) AS n FROM jobs GROUP BY kind, state").all();
  assert.deepEqual([...new Set(jobs.results.map(({ state }) => state))], ['done'], JSON.stringify(jobs.results));
  const { kinds, refused } = await limits();
  assert.deepEqual(refused, {}, 'what the platform would have refused');
  const most = (name) => Math.max(...Object.values(kinds).map((kind) => kind[name]));
  row('subrequests of an invocation, 10,000', `at most ${group(most('subrequests'))}`, 'none', 'bounded by the queries');
  row('connections at once, 6', 'batches of ten messages, of which six are worked on', `databases and queues: ${most('connections')} at once`, 'a seventh would wait');
  assert.ok(most('connections') <= 6);
  const peak = await memory();
  row('memory of an isolate, 128 MB', `the program's grew to ${mb(peak)}`, 'none', `below ${mb(MAX_MEMORY)}`);
  assert.ok(peak < MAX_MEMORY, `${peak} bytes`);
  console.log(`\nby kind of invocation, the most of one: ${JSON.stringify(kinds)}\n`);
}

async function fillPoints(rewards) {
  const people = (count) => `WITH RECURSIVE u(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM u WHERE n < ${count} - 1)`;
  const entries = (count) => `e(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM e WHERE k < ${count} - 1)`;
  await rewards.batch([
    `${people(LEDGERS.users)} INSERT INTO rewards_users (user_id, total_points, lifetime_earned, tier) SELECT printf('light%07d', n + ${GONE}), ${LEDGERS.entries} - 7, 5, 'bronze' FROM u`,
    `${people(LEDGERS.users)}, ${entries(LEDGERS.entries)} INSERT INTO rewards_ledger (id, user_id, event_type, points, reference_id, metadata, status, created_at)
      SELECT printf('e%06d.%06d', n, k), printf('light%07d', n + ${GONE}), 'purchase', 1, 'order-' || k, '{"shop":"Köln"}', 'posted', 1789000000 FROM u, e`,
    "INSERT INTO rewards_users (user_id, total_points, lifetime_earned, tier) VALUES ('dense0000000', 12, 5, 'bronze')",
    `WITH RECURSIVE ${entries(LONG_LEDGER)} INSERT INTO rewards_ledger (id, user_id, event_type, points, status, created_at)
      SELECT printf('long.%07d', k), 'dense0000000', 'purchase', k % 7 - 3, 'posted', 1789000000 FROM e`,
  ].map((sql) => rewards.prepare(sql)));
}

// What the Worker said, counted by event and code: for whoever looks into a miss.
const said = {};
function onLog(line) {
  try {
    const { event, code, outcome, reason } = JSON.parse(line);
    const name = [event, code ?? reason ?? outcome].filter(Boolean).join(' ');
    said[name] = (said[name] ?? 0) + 1;
  } catch {
    // Not an event.
  }
}

const mb = (bytes) => `${(bytes / 1_048_576).toFixed(1)} MB`;

async function statusOf(sandbox) {
  const answer = await fetch(`${sandbox.proxy.url}/_proxy/status`, { headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
  return answer.json();
}

function print() {
  const head = ['limit', 'at it', 'above it', 'what happened'];
  const widths = head.map((name, column) => Math.max(name.length, ...table.map((cells) => cells[column].length)));
  for (const cells of [head, widths.map((width) => '-'.repeat(width)), ...table]) console.log(cells.map((cell, column) => cell.padEnd(widths[column])).join('  ').trimEnd());
  console.log('');
}

const state = scratchOr(path.join(root, '.sandbox/limits'), options);
let failure;
try {
  const sandbox = await startSandbox({
    persistTo: state.directory, onLog, wrapper: fileURLToPath(new URL('enforce.mjs', import.meta.url)),
  });
  try {
    await main(sandbox);
  } catch (error) {
    const seen = await fetch(`${sandbox.proxy.url}/__limits`).then((answer) => answer.text()).catch(String);
    console.error(`limits so far: ${seen}\nevents: ${JSON.stringify(said)}`);
    throw error;
  } finally {
    await sandbox.close();
  }
} catch (error) {
  failure = error;
}
print();
if (failure) console.error(failure.stack);
console.log(`limits: ${failure ? 'failed' : 'passed'}`);
process.exit(failure ? 1 : 0);
