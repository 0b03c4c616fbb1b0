// The import under crashes: workerd and the command killed with SIGKILL at random
// moments and started again on the same storage, writers at work through the proxy.
// Then five imports in a row. A version that goes back at mgPass is an older value over
// a newer one, also when it is mended later.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';

import { startLogto } from '../../harness/backends/logto/main.mjs';
import { fillRewards } from '../../harness/sandbox/population.mjs';
import { management, managementToken, pause, until } from '../../harness/sandbox/client.mjs';
import { workerdPids } from '../../harness/sandbox/machine.mjs';
import { controlOf, drawPorts, SECRETS, startSandbox } from '../../harness/sandbox/sandbox.mjs';
import { compareStores, dwp, fill, group, say, snapshot, startDwp } from './support.mjs';

const WRITERS = 4;
const IMPORTS_IN_A_ROW = 5;
/// Cron, whose minute is some seconds here.
const TICK_MS = 4_000;
/// People a minute.
const RATE = 9_000;
/// An open intent is looked at a minute after its opening, and once more a quarter of an hour after.
const EXPIRED_MS = 75_000;

export async function crash({ directory, users = 2_000, seed, lanes, kills }) {
  // Calls that were under way when a process died.
  process.on('unhandledRejection', () => {});
  const ports = await drawPorts();
  const url = (port) => `http://127.0.0.1:${port}`;
  const logto = await startLogto({ port: ports.logto, controlPort: ports.logtoControl, endpoint: url(ports.proxy) });
  const start = () => startSandbox({ persistTo: directory, ports, vars: { WALK: 'off', DELETIONS_PER_HOUR: '10000' }, tickMs: TICK_MS, runningLogto: logto });
  await fill(logto, { count: users, seed });
  await controlOf(logto).call('PUT', '/listing', { shuffle_ties: true });
  let sandbox = await start();
  try {
    await sandbox.flag('stage', 'dual_write');
    await fillRewards(sandbox.databases.rewards, [...logto.users.values()].map(({ id }) => id), { seed });
    const live = await startWriters(url(ports.proxy), logto);
    const counts = await killAll({ ports, url, kills, lanes, live, get: () => sandbox, restart: async () => { sandbox = await start(); } });
    await live.stop();
    say(`kills: Worker ${counts.workers}, command ${counts.commands}; writes acknowledged ${live.acknowledged}, unanswered ${live.unanswered}, imports begun ${counts.imports}, pages between kills ${counts.pages}`);
    assert.ok(live.acknowledged > 0 && counts.workers + counts.commands >= kills);

    // The job first: it hands people over to the relay as long as it runs.
    await finish(sandbox, 'users');
    await drain(sandbox, live);
    await judge(sandbox, live);
    await again(sandbox);
  } finally {
    await sandbox.close().catch(() => {});
    await logto.close();
  }
}

async function startWriters(proxyUrl, logto) {
  const token = await managementToken(`${proxyUrl}/oidc`);
  const ask = management(proxyUrl, token);
  const live = { acknowledged: 0, unanswered: 0, deleted: new Set(), goesOn: true, older: [], versions: new Map() };
  const own = [...logto.users.values()].map(({ id }) => id).filter((_, index) => index % 3 === 0);
  let version = 0;
  const pick = () => own[Math.floor(Math.random() * own.length)];
  const identity = () => ({ userId: `live-${Math.floor(Math.random() * 60)}`, details: { at: version } });
  const actions = [
    [10, (id) => ['PATCH', `/users/${id}`, { name: `v${version}` }]],
    [2, (id) => ['PATCH', `/users/${id}`, { primaryEmail: `live${Math.floor(Math.random() * 200)}@example.test` }]],
    [2, (id) => ['PATCH', `/users/${id}/custom-data`, { customData: { version } }]],
    [2, (id) => ['PATCH', `/users/${id}/is-suspended`, { isSuspended: version % 2 === 0 }]],
    [2, (id) => ['PUT', `/users/${id}/identities/google`, identity()]],
    [1, (id) => ['DELETE', `/users/${id}/identities/google`]],
    [2, () => ['POST', '/users', { username: `live_${version}`, name: `v${version}` }]],
    [1, (id) => ['DELETE', `/users/${id}`]],
  ];
  const bag = actions.flatMap(([weight, action]) => Array.from({ length: weight }, () => action));
  async function write() {
    version += 1;
    const id = pick();
    const [method, route, body] = bag[Math.floor(Math.random() * bag.length)](id);
    try {
      const answer = await ask(method, route, body);
      if (answer.status < 200 || answer.status > 299) return;
      live.acknowledged += 1;
      if (method === 'POST') own.push(JSON.parse(answer.text).id);
      if (method === 'DELETE' && !route.includes('identities')) {
        live.deleted.add(id);
        own.splice(own.indexOf(id), 1);
      }
    } catch {
      live.unanswered += 1;
      // Nobody listens at the moment.
      await pause(50);
    }
  }
  const loops = Array.from({ length: WRITERS }, async () => {
    while (live.goesOn) {
      await write();
      await pause(60);
    }
  });
  live.stop = async () => { live.goesOn = false; await Promise.all(loops); };
  return live;
}

// What mgPass holds of the versions only rises.
async function watchVersions(sandbox, live) {
  const { results } = await sandbox.databases.mgpass.prepare("SELECT id, CAST(substr(name, 2) AS INTEGER) AS version FROM users WHERE name GLOB 'v[0-9]*' AND deleted_at IS NULL").all();
  for (const { id, version } of results) {
    const before = live.versions.get(id) ?? 0;
    if (version < before) live.older.push(`${id}: ${version} after ${before}`);
    live.versions.set(id, version);
  }
  // Names without a version come first: a name that was versioned once stays so.
}

async function killAll({ ports, url, kills, lanes, live, get, restart }) {
  const counts = { workers: 0, commands: 0, imports: 0, pages: 0 };
  // Slow enough that the kills fall into its middle.
  const started = ['import', 'users', '--watch', '--rate', String(RATE), ...(lanes ? ['--lanes', String(lanes)] : [])];
  while (counts.workers + counts.commands < kills) {
    const job = await currentJob(url(ports.proxy));
    const isActive = job?.state === 'running';
    if (!isActive) counts.imports += 1;
    const command = startDwp(url(ports.proxy), isActive ? ['watch', 'users'] : started);
    counts.pages += await progress(get(), job);
    await pause(Math.random() * 1_000);
    const which = Math.random();
    // At times the command lives through the crash of the Worker, at times it dies alone.
    const killsWorker = which < 0.75;
    if (killsWorker) {
      for (const pid of workerdPids()) process.kill(pid, 'SIGKILL');
      counts.workers += 1;
    }
    if (which > 0.5 && command.child.exitCode === null) {
      command.child.kill('SIGKILL');
      counts.commands += 1;
    }
    if (killsWorker) {
      await get().close().catch(() => {});
      await restart();
      await passTime(get());
    }
    await watchVersions(get(), live).catch(() => {});
    command.child.kill('SIGTERM');
    await command.done;
    if ((counts.workers + counts.commands) % 5 === 0) {
      say(`${counts.workers + counts.commands} kills; job ${job?.id ?? '-'} with ${group(job?.users ?? 0)} people; ${live.acknowledged} writes`);
    }
  }
  return counts;
}

/** A kill before the job has gone on would prove nothing: pages done meanwhile. */
async function progress(sandbox, job) {
  const before = job?.pages ?? 0;
  const { answer } = await until('the job goes on', async () => {
    const now = await sandbox.databases.proxy.prepare("SELECT id, state, n_pages FROM jobs WHERE kind = 'users' ORDER BY id DESC LIMIT 1").first();
    if (now && now.id === job?.id && now.state !== 'running') return { n: now.n_pages - before };
    if (now && now.id !== job?.id) return now.n_pages > 0 ? { n: now.n_pages } : undefined;
    return now && now.n_pages > before ? { n: now.n_pages - before } : undefined;
  }, { withinMs: 60_000, everyMs: 100 });
  return answer.n;
}

/** No process lives that could hold a claim: the minute until it runs out need not be waited for. */
async function passTime(sandbox) {
  await sandbox.databases.proxy.batch([
    sandbox.databases.proxy.prepare('UPDATE job_pages SET claimed_until = 0'),
    sandbox.databases.proxy.prepare("UPDATE jobs SET moved_at = moved_at - 30000, next_at = 0 WHERE state = 'running'"),
  ]);
}

async function currentJob(proxyUrl) {
  const { answer } = await until('the proxy answers', async () => {
    const answer = await fetch(`${proxyUrl}/_proxy/import?kind=users`, { headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } }).catch(() => undefined);
    if (answer?.status === 404) return { job: undefined };
    return answer?.ok ? { job: await answer.json() } : undefined;
  }, { withinMs: 30_000, everyMs: 200 });
  return answer.job;
}

/** Begun where none runs, watched to its end. */
async function finish(sandbox, kind) {
  const job = await currentJob(sandbox.proxy.url);
  const args = kind === 'users' && job?.state === 'running' ? ['watch', kind] : ['import', kind, '--watch'];
  return (await dwp(sandbox.proxy.url, [...args, '--json'], { allowed: [0, 1], onLine: say })).json();
}

// Cron delivers what the crashes left; deletions that nobody answered get their second
// witness from a person.
async function drain(sandbox, live) {
  const began = Date.now();
  // What a kill left without an answer is reconciled when it expires; that it stays open
  // for a second look is no backlog.
  const left = async () => (await sandbox.databases.proxy.prepare(
    `SELECT i.operation, s.parked, s.last_outcome, s.failures, count(*) AS n, min(i.subject) AS subject FROM intents i LEFT JOIN subjects s ON s.subject = i.subject
      WHERE i.discharged_at IS NULL AND (i.settled IS NOT NULL OR i.opened_at > unixepoch() * 1000 - ${EXPIRED_MS}) GROUP BY 1, 2, 3, 4`,
  ).all()).results;
  await until('an empty outbox', async () => {
    await watchVersions(sandbox, live).catch(() => {});
    await confirm(sandbox);
    return (await left()).length === 0;
  }, { withinMs: 300_000, everyMs: 1_000 }).catch(async (error) => {
    for (const row of await left()) console.error(row);
    throw error;
  });
  say(`outbox empty after ${Math.round((Date.now() - began) / 1_000)} s of cron`);
}

async function confirm(sandbox) {
  const { results } = await sandbox.databases.proxy.prepare("SELECT subject FROM subjects WHERE parked = 'deletion_unconfirmed'").all();
  for (const { subject } of results) await dwp(sandbox.proxy.url, ['confirm-deletion', subject]);
}

async function judge(sandbox, live) {
  let stores = await compareStores(sandbox);
  for (let n = 0; n < 60 && stores.missing.length + stores.extra.length + stores.differing.length > 0; n += 1) {
    await pause(1_000);
    await confirm(sandbox);
    stores = await compareStores(sandbox);
  }
  const double = (await sandbox.databases.mgpass.prepare("SELECT count(*) AS n FROM (SELECT target_id FROM audit_logs WHERE event_type = 'user.created' GROUP BY target_id HAVING count(*) > 1)").first('n'));
  const dead = [...live.deleted].filter((id) => sandbox.logto.users.get(id) !== undefined);
  await watchVersions(sandbox, live);
  say(`users compared ${group(stores.n)}: duplicates ${double}, missing ${stores.missing.length}, not deleted ${stores.extra.length}, differing ${stores.differing.length}, older over newer ${live.older.length}`);
  for (const id of [...stores.missing, ...stores.extra, ...stores.differing].slice(0, 3)) {
    console.log((await dwp(sandbox.proxy.url, ['explain', id], { allowed: [0, 1] })).stdout);
  }
  assert.deepEqual([double, stores.missing, stores.extra, stores.differing, live.older, dead], [0, [], [], [], [], []]);
}

async function again(sandbox) {
  await finish(sandbox, 'points');
  const digest = (tables) => Object.fromEntries(Object.entries(tables).map(([name, rows]) => [name, `${rows.length} ${createHash('sha256').update(JSON.stringify(rows)).digest('hex').slice(0, 12)}`]));
  const before = digest(await snapshot(sandbox));
  for (let turn = 1; turn <= IMPORTS_IN_A_ROW; turn += 1) {
    const job = await finish(sandbox, 'users');
    const points = await finish(sandbox, 'points');
    assert.deepEqual([job.state, points.state], ['done', 'done']);
    assert.deepEqual(digest(await snapshot(sandbox)), before, `import ${turn} in a row changed something`);
  }
  say(`${IMPORTS_IN_A_ROW} imports in a row add nothing: ${Object.entries(before).map(([name, text]) => `${name} ${text.split(' ')[0]}`).join(', ')}`);
}
