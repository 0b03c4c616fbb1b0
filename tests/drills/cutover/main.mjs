// The users change hands before the real Worker in workerd, over real HTTP on loopback,
// driven by the built `dwp` and `wrangler kv key put` as an operator would.
//
//   npm run cutover [-- --users 10000] [--until ACT] [--skip gates,database,flags,portal,mgpass,strays]
//
// Readers, writers, registrations and sign-ins are on all the while, and mgPass has users
// of its own. Everything is counted at the backends: the Logto stand-in's own users and
// requests, by the client that made them, and mgPass's rows. Waits are a drill's: 12 s of
// announcement (18 minutes in production), 90 s of draining at most.

import path from 'node:path';
import { parseArgs } from 'node:util';

import { root } from '../import/support.mjs';
import { hangingWrites, mgpassDead, release } from './abandon.mjs';
import { databaseFails, flagsChangeNothing, mgpassFails, portal, strays } from './at_mgpass.mjs';
import { effectsOwed, killedWriter, letGo, watchKilled } from './drained.mjs';
import { refuseOneByOne } from './gates.mjs';
import { handOver, judgeBook, judgeCutover, judgeEqual, wayBack } from './handover.mjs';
import { arm, beforeArming, prepare, whileArmed } from './prepare.mjs';
import { openScene, pause, say } from './scene.mjs';
import { tally } from './traffic.mjs';

const { values: options } = parseArgs({
  options: { users: { type: 'string', default: '10000' }, live: { type: 'boolean', default: false }, until: { type: 'string' }, skip: { type: 'string', default: '' } },
});

const scene = await openScene({ main: options.live ? path.join(root, 'target/worker/live/index.js') : undefined });
let traffic;
let failure;

class Enough extends Error {}
const skips = (act) => options.skip.split(',').includes(act);
const enough = (act) => {
  if (options.until === act) throw new Enough(act);
};

async function drill() {
  traffic = await prepare(scene, Number(options.users));
  if (!skips('database')) await beforeArming(scene, traffic);
  await arm(scene, traffic);
  if (!skips('database')) await whileArmed(scene, traffic);
  enough('armed');
  if (!skips('gates')) await refuseOneByOne(scene, traffic);
  enough('gates');

  await handOver(scene, traffic, { label: 'hand-over 1' });
  enough('handover');
  if (!skips('flags')) await flagsChangeNothing(scene, traffic);
  if (!skips('portal')) await portal(scene, traffic);
  if (!skips('mgpass')) await mgpassFails(scene, traffic);
  if (!skips('database')) await databaseFails(scene, traffic);
  if (!skips('strays')) await strays(scene, traffic);
  enough('strays');
  await judgeCutover(scene, traffic, 'hand-over 1');
  await judgeBook(scene, traffic, 'hand-over 1', 'mgpass');
  await wayBack(scene, traffic, { label: 'way back' });
  // What KV says is the wish for the next hand-over only once it has been something else.
  await scene.put('stage', 'dual_write', (status) => status.stage === 'dual_write');
  await judgeEqual(scene, traffic, 'way back');
  enough('back');

  // By KV this time, with a writer that never ends and sessions still to be ended.
  let killed;
  await handOver(scene, traffic, {
    label: 'hand-over 2', isDisturbed: true,
    begin: async () => {
      await scene.wrangler('stage', 'cutover');
      await effectsOwed(scene, traffic);
      killed = await killedWriter(scene, traffic);
    },
    during: () => letGo(scene, killed),
  });
  await watchKilled(scene, traffic, killed);
  await judgeCutover(scene, traffic, 'hand-over 2');
  await hangingWrites(scene, traffic);
  await release(scene, 'after --abandon-debt');
  await judgeEqual(scene, traffic, 'after --abandon-debt');
  enough('abandoned');

  await handOver(scene, traffic, {
    label: 'hand-over 3, cron stopped',
    begin: async () => { scene.cronRuns = false; scene.command = scene.startDwp('stage cutover --wait', { onLine: (line) => say(`  dwp: ${line}`) }); },
  });
  await scene.command.done;
  await pause(3_000);
  await judgeCutover(scene, traffic, 'hand-over 3');
  scene.cronRuns = true;
  await mgpassDead(scene, traffic);
  await release(scene, 'mgPass back');
  await judgeEqual(scene, traffic, 'in the end');

  const { n } = await scene.mgpassRow('SELECT count(*) AS n FROM logto_mirror_effects');
  const ended = scene.sandbox.mgpass.counters.byRoute['POST /api/users/:id/sessions/revoke-all']?.byStatus?.['200'] ?? 0;
  scene.expect('sessions ended for what was owed across the move', `${ended} calls that mgPass took, ${n} left`, 'at least 1, five a minute', ended > 0);
  scene.expect('all in all: stale reads', `${traffic.stale} of ${traffic.reads.length}`, '0', traffic.stale === 0);
  scene.rows.push({ what: 'all in all: writes', measured: tally(traffic.writes), demanded: '', isSo: true });
}

try {
  await drill();
} catch (error) {
  if (!(error instanceof Enough)) failure = error;
} finally {
  await traffic?.stop();
  const nMissed = scene.printTable();
  await scene.close();
  if (failure) console.error(`\n${failure.stack}`);
  const isGood = failure === undefined && nMissed === 0;
  console.log(`\ncutover: ${!isGood ? 'FAILED' : options.until || options.skip ? 'passed, in part' : 'passed'}`);
  process.exit(isGood ? 0 : 1);
}
