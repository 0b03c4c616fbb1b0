// What every phase of the migration stands on: the sandbox with clocks that can be moved,
// the operator's command, the book of what was measured, and what the page draws.
//
// A drill's: the clocks, moved while nobody's request is under way (`pass`), so that every
// wait is production's own, from the five seconds for which an isolate keeps a flag to the
// days before cleanup; and cron, which here runs every two seconds and after each move.
// A drill's too are the bounds that judge latency, since what is slow here is two cores.

import path from 'node:path';

import { makeKeys } from '../../harness/backends/logto/keys.mjs';
import { mgpassToken, pause, until } from '../../harness/sandbox/client.mjs';
import { aheadS, passTime, realNow } from '../../harness/sandbox/clock.mjs';
import { workerdPids } from '../../harness/sandbox/machine.mjs';
import { random } from '../../harness/sandbox/population.mjs';
import { APP, BACK, NEW_SECRET, OLD_SECRET, openScene, say } from '../cutover/scene.mjs';
import { EVIDENCE } from '../operator/desk.mjs';
import { dwp as runDwp, root, startDwp } from '../import/support.mjs';

export { pause, realNow, say, until };
/** Between two writes, where the mirror has nothing left to do. */
export const CALM_MS = 200;
/** Between two reads; where a guard is to judge, a sixth of it. */
export const READ_MS = 60;
export const DENSE_READ_MS = 10;
export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

const LEASED = "SELECT count(*) AS n FROM subjects WHERE lease_until > unixepoch('subsec') * 1000";

const VARS = {
  ORIGIN_SECRET: OLD_SECRET, REVERSE_CLIENT_ID: BACK.id, REVERSE_CLIENT_SECRET: BACK.secret,
  PIN_SECRET: 'a-key-for-the-pin-of-the-drill', ...EVIDENCE,
  // Two cores carry everything: slowness is this machine's.
  GUARD_MAX_P95_PERCENT: '10000', GUARD_MAX_P95_MS: '10000', ELIGIBILITY_DEADLINE_MS: '5000', MGPASS_DEADLINE_MS: '4000', COMPARISONS_PER_SECOND: '1000',
  METRICS_FLUSH_MS: '300', GUARD_MIN_READS: '10', GUARD_MIN_COMPARED: '5',
  // Some of the population have neither an address nor a social account.
  CHECK_MAX_WITHOUT_ROAD: '100000', DELETIONS_PER_HOUR: '10000',
};

export async function openMigration({ seed, main }) {
  const keys = await makeKeys('ES384');
  const mgpassVars = {};
  const scene = await openScene({
    main, name: 'migration', base: VARS, logto: { keys }, cronEveryMs: 2_000,
    mgpass: { main: path.join(root, 'tests/harness/backends/mgpass/moved.mjs'), vars: mgpassVars },
  });
  const { sandbox, mgpassApi } = scene;
  let tokenOf = -Infinity;
  // The clocks begin to be movable, with nothing passed yet.
  await passTime(sandbox, 0);
  return Object.assign(scene, {
    seed, keys, probe: EVIDENCE, dice: random(seed),
    traffic: undefined, people: [], apps: [],
    /** What the page draws: once a second, and what happened when. */
    samples: [], marks: [], faults: [], checklist: undefined, certificate: undefined,
    file: (name) => path.join(scene.folder, name),

    dwp: (line, options) => runDwp(scene.url, typeof line === 'string' ? line.split(' ') : line, {
      ...options, env: { DWP_PERSIST_TO: scene.persistTo, USER: 'ama', DWP_ACTOR: 'ama', ...options?.env },
    }),
    startDwp: (line, options) => startDwp(scene.url, typeof line === 'string' ? line.split(' ') : line, { ...options, env: { DWP_PERSIST_TO: scene.persistTo, USER: 'ama' } }),

    async mgpassApi(...call) {
      if (Date.now() - tokenOf > 50 * MINUTE) {
        scene.mgpassToken = await mgpassToken(sandbox.mgpass.url);
        tokenOf = Date.now();
      }
      return mgpassApi(...call);
    },

    /** KV as wrangler writes it, without the two seconds that wrangler takes to start. */
    wrangler: (key, value) => sandbox.flag(key, value),
    async put(key, value, isSeen) {
      await sandbox.flag(key, value);
      // Longer than an isolate keeps a flag.
      await scene.pass(6_000);
      await until(`${key} ${value}`, async () => isSeen(await scene.status()), { everyMs: 100 });
    },

    /** So much later for everybody; then cron. Not in the middle of a reconcile, whose lease would be over. */
    async pass(ms) {
      const move = async () => {
        await until('no lease', async () => (await scene.proxyRow(LEASED)).n === 0, { withinMs: 250, everyMs: 10 }).catch(() => {});
        await passTime(sandbox, ms);
      };
      await (scene.traffic ? scene.traffic.held(move) : move());
      await sandbox.tick();
    },
    /** Minute by minute until it is so. */
    async passUntil(what, isSo, { stepMs = MINUTE, steps = 90, restMs = 30 } = {}) {
      for (let n = 0; !(await isSo()); n += 1) {
        if (n === steps) throw new Error(`not after ${steps} times ${stepMs / 1_000} s: ${what}`);
        await scene.pass(stepMs);
        await pause(restMs);
      }
    },

    /** SIGKILL, and a new workerd on the same stores. */
    async killed() {
      const from = Date.now();
      for (const pid of workerdPids()) process.kill(pid, 'SIGKILL');
      mgpassVars.AHEAD_S = String(aheadS());
      await sandbox.deploy({ DRILL_AHEAD_S: String(aheadS()) }, { isMigrated: true });
      scene.unknowable = { from, to: Date.now() };
    },
    deploy: (changed) => {
      mgpassVars.AHEAD_S = String(aheadS());
      return sandbox.deploy({ DRILL_AHEAD_S: String(aheadS()), ...changed });
    },

    fault(phase, name, outcome) {
      scene.faults.push({ phase, name, outcome });
      say(`     fault: ${name}: ${outcome}`);
    },
    mark: (what) => scene.marks.push({ at: realNow(), ahead: aheadS(), what }),
  });
}

/** A token of the application's that is renewed as it would itself: before its hour is over. */
export function renewing(scene, client = APP) {
  let held;
  const ask = async (method, route, body) => {
    if (!scene.keepsToken && (held === undefined || Date.now() - held.at > 50 * MINUTE)) {
      try {
        held = { at: Date.now(), token: await scene.token(client) };
      } catch (error) {
        if (held === undefined) throw error;
      }
    }
    return scene.api(held.token)(method, route, body);
  };
  return Object.assign(ask, { async renew() { held = { at: Date.now(), token: await scene.token(client) }; } });
}

/** Once a second, for the page: where things stand, and how long requests took since. */
export function sampling(scene) {
  let isOn = true;
  let from = {};
  const take = async () => {
    const status = await scene.status().catch(() => undefined);
    const { traffic } = scene;
    if (status?.outbox === undefined || traffic === undefined) return;
    const took = (list, since) => list.slice(since).filter(({ status: code }) => code > 0 && code < 500).map(({ began, ended }) => ended - began);
    scene.samples.push({
      at: realNow(), ahead: aheadS(), stage: status.stage, authority: status.outbox.authority,
      asked: (status.read_bps ?? 0) / 100, realised: (status.reads?.realised_bps ?? 0) / 100, backlog: status.outbox.n_open ?? 0,
      reads: took(traffic.reads, from.reads ?? 0), writes: took(traffic.writes, from.writes ?? 0),
      held: traffic.writes.slice(from.writes ?? 0).filter(({ began, ended }) => ended - began > 1_000).length,
    });
    from = { reads: traffic.reads.length, writes: traffic.writes.length };
    // As many writes as the mirror keeps up with on this machine, but while the users change hands.
    if (!traffic.isDense) traffic.writeEveryMs = Math.min(4_000, CALM_MS + 100 * scene.samples.at(-1).backlog);
  };
  const loop = (async () => {
    while (isOn) {
      await take();
      await pause(1_000);
    }
  })();
  return { stop: () => { isOn = false; return loop; } };
}

export const aheadNow = aheadS;
export { NEW_SECRET, OLD_SECRET };
