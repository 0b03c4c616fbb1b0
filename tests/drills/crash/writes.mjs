// Real crashes: the built Worker in workerd under a stream of writes, cron off,
// workerd killed with SIGKILL at random moments and started again on the same
// local storage. Then cron's sweep and catch-up alone, no walk: both stand-ins must
// hold the same users. Twice, half of the kills each: cron as slow as every 10 s, and
// as fast as every 1.5 s.
//
// Steps: the Logto stand-in runs through; each round starts workerd, lets eight
// writers go on for a moment, kills the process; at the end cron is ticked until
// both sides are equal. A deletion that was never answered is parked for want of its
// second witness, and whoever has taken a value over from that user is parked with it:
// both are counted, the deletion is confirmed and the other replayed as an operator
// would, and all are judged like the rest. A deletion that was answered needs nobody.
//
// Of all turns of the relay, by its own lines, fewer than 5 % may have had nothing to
// cover: a subject is woken once until its turn, however often cron comes.

import { createHash } from 'node:crypto';
import path from 'node:path';

import { scratch } from '../../harness/sandbox/scratch.mjs';
import { startLogto } from '../../harness/backends/logto/main.mjs';
import { migrateMgpass, startMgpassFront } from '../../harness/backends/mgpass/main.mjs';
import { root } from '../../e2e/support.mjs';
import { management, managementToken, pause, until } from '../../harness/sandbox/client.mjs';
import { freePorts, workerdPids } from '../../harness/sandbox/machine.mjs';
import { controlOf, SECRETS } from '../../harness/sandbox/sandbox.mjs';
import { applyMigrations, startWorkers } from '../../harness/sandbox/workers.mjs';

const N_WRITERS = 8;
/// Writes before the last kill, and how long Logto takes for a user from then on.
const BACKLOG_WRITES = 300;
const SLOW_MS = 1_000;
const CRONS_MS = [10_000, 1_500];
const MAX_IDLE_SHARE = 0.05;
/// An open intent is looked at a minute after its opening.
const EXPIRY_MS = 75_000;
const RECOVERY_MS = 240_000;

/** One course: kills, then cron every `cronMs` until both sides are equal. True when nothing was lost. */
async function course(cronMs, nKillsWanted) {
  const store = scratch();
  const [proxyPort, logtoPort, logtoControl, mgpassPort, mgpassControl] = await freePorts(5);
  const url = (port) => `http://127.0.0.1:${port}`;
  const logto = await startLogto({ port: logtoPort, controlPort: logtoControl, endpoint: url(proxyPort) });

  // The relay's turns, by its own lines; a line that a kill swallowed is in neither count.
  const turns = { covered: 0, idle: 0 };
  function onLog(line) {
    const event = /^\{.*\}$/.test(line) ? JSON.parse(line) : {};
    if (event.event === 'mirror.reconciled') turns[event.n_intents > 0 ? 'covered' : 'idle'] += 1;
    if (event.event === 'mirror.waited' && event.code === 'nothing_to_cover') turns.idle += 1;
  }

  async function start() {
    const workers = await startWorkers({
      persistTo: store.directory,
      onLog,
      workers: [
        {
          name: 'dual-write-proxy',
          config: path.join(root, 'wrangler.toml'),
          port: proxyPort,
          vars: { LOGTO_ORIGIN: url(logtoPort), LOGTO_ISSUER: `${url(proxyPort)}/oidc`, MGPASS_ORIGIN: url(mgpassPort), MGPASS_ISSUER: url(mgpassPort), WALK: 'off', DELETIONS_PER_HOUR: '10000', ...SECRETS },
        },
        { name: 'mgpass-standin', config: path.join(root, 'tests/harness/backends/mgpass/wrangler.toml'), port: 0, entrypoints: { Control: 0 }, vars: { ISSUER: url(mgpassPort) } },
      ],
    });
    const standin = workers.workers['mgpass-standin'];
    const front = await startMgpassFront({ workerUrl: standin.url, workerControlUrl: standin.entrypoints.Control.url, port: mgpassPort, controlPort: mgpassControl });
    return { workers, front };
  }

  async function stop({ workers, front }) {
    await front.close().catch(() => {});
    await workers.dispose().catch(() => {});
  }

  let running = await start();
  await migrateMgpass(running.workers);
  await applyMigrations({ sandbox: running.workers, databaseId: 'mgpass-local', directory: path.join(root, 'schema/mirror'), table: 'logto_mirror_migrations' });
  await applyMigrations({ sandbox: running.workers, databaseId: 'proxy-local', directory: path.join(root, 'schema/proxy') });
  await applyMigrations({ sandbox: running.workers, databaseId: 'metrics-local', directory: path.join(root, 'schema/metrics') }).catch(() => {});
  const { FLAGS } = await running.workers.workers['dual-write-proxy'].getBindings();
  await FLAGS.put('stage', 'dual_write');
  const token = await managementToken(`${url(proxyPort)}/oidc`);
  const ask = management(url(proxyPort), token);

  const direct = management(url(logtoPort), token);

  const ids = [];
  const deleted = new Set();
  let nAcknowledged = 0;
  let nUnanswered = 0;
  let counter = 0;

  async function write() {
    counter += 1;
    const id = ids[Math.floor(Math.random() * ids.length)];
    const what = id === undefined ? 0 : Math.random() * 10;
    const name = `name ${counter}`;
    const email = `mail${Math.floor(Math.random() * 40)}@example.test`;
    const call = what < 2 ? ask('POST', '/users', { username: `u${counter}`, name })
      : what < 5 ? ask('PATCH', `/users/${id}`, { name })
        : what < 6.5 ? ask('PATCH', `/users/${id}`, { primaryEmail: email })
          : what < 7.5 ? ask('PATCH', `/users/${id}/custom-data`, { customData: { counter } })
            : what < 9 ? ask('PATCH', `/users/${id}/is-suspended`, { isSuspended: counter % 2 === 0 })
              : ask('DELETE', `/users/${id}`);
    try {
      const answer = await call;
      if (answer.status < 200 || answer.status > 299) return;
      nAcknowledged += 1;
      if (what < 2) ids.push(JSON.parse(answer.text).id);
      if (what >= 9) {
        deleted.add(id);
        ids.splice(ids.indexOf(id), 1);
      }
    } catch {
      nUnanswered += 1;
    }
  }

  const began = Date.now();
  let nKills = 0;
  while (nKills < nKillsWanted) {
    // The last one leaves a backlog, and Logto so slow that it takes many ticks of cron.
    const isLast = nKills === nKillsWanted - 1;
    if (isLast) await controlOf(logto).faults([{ match: { method: 'GET', path: '^/api/users/[^/]+$' }, latency_ms: SLOW_MS }]);
    const nBefore = nAcknowledged;
    let goesOn = true;
    const writers = Array.from({ length: N_WRITERS }, async () => { while (goesOn) await write(); });
    if (isLast) await until('a backlog', () => nAcknowledged >= nBefore + BACKLOG_WRITES, { withinMs: 120_000 });
    else await pause(150 + Math.random() * 700);
    for (const pid of workerdPids()) process.kill(pid, 'SIGKILL');
    nKills += 1;
    goesOn = false;
    await Promise.race([Promise.all(writers), pause(3_000)]);
    await stop(running);
    running = await start();
    if (nKills % 10 === 0) console.log(`${nKills} kills, ${nAcknowledged} writes acknowledged, ${nUnanswered} unanswered, ${Math.round((Date.now() - began) / 1000)} s`);
  }

  const { workers } = running;
  const database = await workers.database('mgpass-local');
  const tick = () => workers.scheduled('dual-write-proxy', '* * * * *');
  const sha = (text) => createHash('sha256').update(text).digest('hex');

  async function differences() {
    const dump = await controlOf(logto).call('GET', '/users/dump');
    const lines = (typeof dump === 'string' ? dump.split('\n') : [JSON.stringify(dump)]).filter(Boolean);
    const truth = new Map(lines.map((line) => [JSON.parse(line).id, line]));
    const { results } = await database.prepare(`SELECT u.id, u.name, u.email, u.is_suspended, u.metadata, m.digest FROM users u JOIN logto_mirror m ON m.user_id = u.id WHERE u.deleted_at IS NULL`).all();
    const held = new Map(results.map((row) => [row.id, row]));
    // The mirror's digest is of the answer's own bytes.
    const answers = await Promise.all([...truth.keys()].map(async (id) => [id, await direct('GET', `/users/${id}`)]));
    const lost = [];
    for (const [id, shown] of answers) {
      const user = JSON.parse(truth.get(id));
      const row = held.get(id);
      const isEqual = row && row.digest === sha(shown.text) && row.name === (user.name ?? user.username) && row.email === user.primaryEmail
        && Boolean(row.is_suspended) === user.isSuspended && JSON.stringify(JSON.parse(row.metadata)) === JSON.stringify(user.customData);
      if (!isEqual) lost.push(id);
    }
    const extra = [...held.keys()].filter((id) => !truth.has(id));
    return { nUsers: truth.size, lost, extra };
  }

  const outbox = await workers.database('proxy-local');
  const operator = (route) => fetch(`${url(proxyPort)}/_proxy/${route}`, { method: 'POST', headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });

  async function parked() {
    const { results } = await outbox.prepare('SELECT subject, parked FROM subjects WHERE parked IS NOT NULL').all();
    return new Map(results.map((row) => [row.subject, row.parked]));
  }

  const recoveryBegan = Date.now();
  const confirmed = new Set();
  const replayed = new Set();
  let state = await differences();
  let ticked = 0;
  while (Date.now() - recoveryBegan < RECOVERY_MS && (state.lost.length > 0 || state.extra.length > 0)) {
    if (Date.now() - ticked >= cronMs) {
      ticked = Date.now();
      await tick();
    }
    await pause(1_000);
    state = await differences();
    if (Date.now() - recoveryBegan < EXPIRY_MS) continue;
    // A person's part, once cron has nothing left to do but for those who are parked.
    const waiting = await parked();
    if (![...state.lost, ...state.extra].every((id) => waiting.has(id))) continue;
    for (const id of state.extra.filter((id) => !deleted.has(id) && !confirmed.has(id))) {
      confirmed.add(id);
      await operator(`mirror/confirm-deletion?user=${id}`);
    }
    for (const id of state.lost.filter((id) => waiting.get(id) === 'value_taken_in_logto' && state.extra.length === 0)) {
      replayed.add(id);
      await operator(`mirror/replay?user=${id}`);
    }
  }
  if (state.lost.length > 0) {
    const view = await fetch(`${url(proxyPort)}/_proxy/mirror`, { headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
    console.log(await view.text());
    const explained = await fetch(`${url(proxyPort)}/_proxy/explain?user=${state.lost[0]}`, { headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
    console.log(await explained.text());
  }
  await stop(running);
  await logto.close();
  store.remove();

  const nTurns = turns.covered + turns.idle;
  console.log(`cron every ${cronMs / 1000} s: kills ${nKills}  writes acknowledged ${nAcknowledged}  unanswered ${nUnanswered}`);
  console.log(`users compared ${state.nUsers}  equal after ${Math.round((Date.now() - recoveryBegan) / 1000)} s of cron  unanswered deletions confirmed ${confirmed.size}  replayed after them ${replayed.size}`);
  console.log(`turns of the relay ${nTurns}  with nothing to cover ${turns.idle} (${(turns.idle / nTurns * 100).toFixed(1)} %)`);
  console.log(`lost ${state.lost.length}  not deleted ${state.extra.length}`);
  return nKills >= nKillsWanted && nAcknowledged > 0 && state.nUsers > 0 && state.lost.length === 0 && state.extra.length === 0
    && turns.covered > 0 && turns.idle / nTurns < MAX_IDLE_SHARE;
}

/** True when nothing was lost. */
export async function run(nKills) {
  let isGood = true;
  for (const cronMs of CRONS_MS) isGood = await course(cronMs, Math.ceil(nKills / CRONS_MS.length)) && isGood;
  return isGood;
}
