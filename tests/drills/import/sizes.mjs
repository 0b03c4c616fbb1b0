// Three sizes, each in a sandbox of its own: speed, memory, statements, our own cost a
// person with Logto's share apart; then points, and the equality report, twice.

import assert from 'node:assert/strict';
import path from 'node:path';

import { fillRewards } from '../../harness/sandbox/population.mjs';
import { controlOf, startSandbox } from '../../harness/sandbox/sandbox.mjs';
import { workerdPids } from '../../harness/sandbox/machine.mjs';
import { compareStores, dwp, fill, group, say, usage } from './support.mjs';

/** Our own cost a person at the greatest size against that at the least. */
const MAX_GROWTH = 1.5;
/** Half of what an isolate has (docs/limits.md). */
const MAX_MEMORY = 64 * 1024 * 1024;

export async function sizes({ directory, users = 100_000, seed, lanes }) {
  const counts = [...new Set([users / 100, users / 10, users].map((n) => Math.max(1, Math.round(n))))];
  const rows = [];
  for (const count of counts) {
    // The least size also warms nothing up for the next: each has its own workerd.
    rows.push(await one({ directory: path.join(directory, String(count)), count, seed, lanes, isLast: count === counts.at(-1) }));
  }
  print(rows);
  const [least, greatest] = [rows[0], rows.at(-1)];
  const growth = greatest.ownCpuMs / least.ownCpuMs;
  console.log(`own processor time a person, ${group(greatest.count)} against ${group(least.count)}: ${growth.toFixed(2)}`);
  if (least.count >= 1_000) assert.ok(growth <= MAX_GROWTH, `own cost a person grew by ${growth.toFixed(2)}`);
}

async function one({ directory, count, seed, lanes, isLast }) {
  // Compared with what the import alone does: the walk would mend it behind our back.
  const sandbox = await startSandbox({ persistTo: directory, vars: { WALK: 'off' }, tickMs: 1_000 });
  try {
    await sandbox.flag('stage', 'dual_write');
    await fill(sandbox.logto, { count, seed });
    const ids = [...sandbox.logto.users.values()].map(({ id }) => id);
    const source = await fillRewards(sandbox.databases.rewards, ids, { seed });
    const [pid] = workerdPids();
    const before = { ...usage(pid), nodeMs: nodeCpuMs() };
    say(`${group(count)} people at Logto, ${group(source.users)} of them with points (${group(source.entries)} entries); workerd ${before.mb} MB`);

    const job = await run(sandbox, ['import', 'users', '--watch', '--json', ...(lanes ? ['--lanes', String(lanes)] : [])]);
    const after = { ...usage(pid), nodeMs: nodeCpuMs() };
    const wallMs = job.finished_at - job.started_at;
    checkTotals(job, count);
    const requests = sandbox.logto.front.counters.total;
    assert.ok(job.memory_bytes < MAX_MEMORY, `the program's memory grew to ${job.memory_bytes} bytes`);
    const row = {
      count,
      wasmMb: job.memory_bytes / 1_048_576,
      perMinute: (count * 60_000) / wallMs,
      ownCpuMs: (after.cpuMs - before.cpuMs) / count,
      standInCpuMs: (after.nodeMs - before.nodeMs) / count,
      logtoMs: job.logto_ms / count,
      mgpassMs: job.mgpass_ms / count,
      workMs: job.work_ms / count,
      statements: job.statements / count,
      requests: requests && requests / count,
      startMb: before.mb,
      peakMb: after.peakMb,
      outcomes: job.outcomes,
    };
    say(`imported at ${group(row.perMinute)} a minute: ${words(job.outcomes)}, together ${group(count)} = Total-Number`);

    const stores = await compareStores(sandbox);
    say(`by the stores themselves: ${group(stores.n)} rows, missing ${stores.missing.length}, extra ${stores.extra.length}, differing ${stores.differing.length}`);
    assert.deepEqual([stores.extra.length, stores.differing.length], [0, 0], stores.differing.slice(0, 5).join(' '));
    assert.equal(stores.missing.length, job.outcomes.parked ?? 0, 'whoever is not there is parked');

    await points(sandbox, source);
    await equality(sandbox, { isLast });
    return row;
  } finally {
    await sandbox.close();
  }
}

/** The command as an operator runs it, its lines shown; parked people are no failure here. */
async function run(sandbox, args) {
  const { json } = await dwp(sandbox.proxy.url, args, { allowed: [0, 1], onLine: say });
  const job = json();
  assert.equal(job.state, 'done', JSON.stringify(job));
  return job;
}

const sum = (counts) => Object.values(counts).reduce((total, n) => total + n, 0);
const words = (counts) => Object.entries(counts).filter(([, n]) => n > 0).map(([name, n]) => `${group(n)} ${name}`).join(', ');

// Every one of Logto's people ends in exactly one of these.
function checkTotals({ outcomes, total, parked }, count) {
  const { equal = 0, parked: nParked = 0, deleted = 0 } = outcomes;
  assert.deepEqual([total, equal + nParked + deleted, sum(outcomes)], [count, count, count], JSON.stringify(outcomes));
  assert.equal(sum(parked), nParked, 'every parked person has a reason');
}

async function points(sandbox, source) {
  const job = await run(sandbox, ['import', 'points', '--watch', '--json']);
  // mgPass's own reconcile, which would overwrite what its ledger does not explain.
  const { checked, drifted } = await controlOf(sandbox.mgpass).call('POST', '/rewards/reconcile');
  say(`balances at mgPass ${group(checked)} of ${group(source.users)}; its reconcile would change ${drifted.length}`);
  assert.ok(checked + (job.outcomes.parked ?? 0) >= source.users, 'everybody with points is there or parked');
  assert.deepEqual(drifted, []);
}

// The second comparison finds all digests known.
async function equality(sandbox, { isLast }) {
  for (const turn of ['first', 'second']) {
    const { status, json } = await dwp(sandbox.proxy.url, ['report', '--run', '--json'], { allowed: [0, 1], onLine: isLast ? say : undefined });
    const { report, ...job } = json();
    const ms = job.finished_at - job.started_at;
    say(`${turn} comparison: ${group(report.compared)} in ${(ms / 1_000).toFixed(1)} s (${((ms * 1_000) / report.compared).toFixed(0)} us each), whole records ${group(report.whole_records_compared)}, differing ${report.differing + report.missing_at_mgpass + report.gone_at_logto}, unexplained ${report.unexplained}`);
    assert.deepEqual([report.unexplained, report.gone_at_logto, report.logto_total], [0, 0, job.total], JSON.stringify(report.differences));
    assert.equal(status, report.is_equal ? 0 : 1);
    assert.ok(report.is_equal, JSON.stringify(report.differences));
  }
  if (isLast) console.log(`\n${(await dwp(sandbox.proxy.url, ['report'], { allowed: [0, 1] })).stdout}`);
}

const nodeCpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
};

function print(rows) {
  const columns = [
    ['people', (row) => group(row.count)],
    ['a minute', (row) => group(row.perMinute)],
    ['own CPU ms', (row) => row.ownCpuMs.toFixed(2)],
    ['Logto CPU ms', (row) => row.standInCpuMs.toFixed(2)],
    ['work ms', (row) => row.workMs.toFixed(2)],
    ['Logto ms', (row) => row.logtoMs.toFixed(2)],
    ['mgPass ms', (row) => row.mgpassMs.toFixed(2)],
    ['statements', (row) => row.statements.toFixed(2)],
    ['wasm MB peak', (row) => row.wasmMb.toFixed(1)],
    ['RSS MB before', (row) => String(row.startMb)],
    ['RSS MB peak', (row) => String(row.peakMb)],
  ];
  console.log('\nA person each: own CPU is workerd with both Workers and D1 in it; Logto CPU the stand-in with this harness.');
  console.log('wasm MB peak is what the program\'s own memory grew to in its isolate; it stays below 64 MB.');
  console.log('work, Logto and mgPass are the times of pages as the Worker saw them, several pages at the same time.\n');
  const width = ([name], index) => Math.max(name.length, ...rows.map((row) => columns[index][1](row).length));
  const line = (cell) => console.log(columns.map((column, index) => cell(column).padStart(width(column, index))).join('  '));
  line(([name]) => name);
  for (const row of rows) line(([, cell]) => cell(row));
  console.log('');
}
