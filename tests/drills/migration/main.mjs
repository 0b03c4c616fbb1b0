// The whole migration in one sandbox, from an untouched Logto to a proxy that is no longer
// needed: the built Worker on workerd with KV, D1 and Queues, HTTP on loopback, the built
// `dwp` as an operator types it. Readers, writers, registrations and signed-in people are on
// all the way, and at each phase something fails.
//
//   npm run migration [-- --users 300] [--seed 1] [--until PHASE] [--live]
//
// It shows a line per phase, writes out/migration.html, and ends with a table and
// `migration: passed`. What is a drill's and what production's: scene.mjs. The same seed
// gives the same people, points, writes and faults; how much happens in a second is the
// machine's. `--until` ends after that phase, for whoever works on the drill.

import path from 'node:path';
import { parseArgs } from 'node:util';

import { root } from '../import/support.mjs';
import { archive, leaveLogto, verify } from './leaving.mjs';
import { equality, importAll, keys, off, shadow } from './before.mjs';
import { cutover, cutoverAgain, goBack, twoDays } from './handing_over.mjs';
import { proveJudges, sumUp } from './judge.mjs';
import { writePage } from './page.mjs';
import { populate } from './population.mjs';
import { evidence, ramp, signIn } from './ready.mjs';
import { aheadNow, openMigration, realNow, sampling, say } from './scene.mjs';

const { values: options } = parseArgs({
  options: { users: { type: 'string', default: '300' }, seed: { type: 'string', default: '1' }, until: { type: 'string' }, live: { type: 'boolean', default: false } },
});
const number = (name, value) => {
  if (!/^[1-9]\d*$/.test(value)) throw new Error(`--${name} must be a positive number`);
  return Number(value);
};
const PHASES = { off, shadow, import: importAll, keys, equality, ramp, evidence, 'sign-in': signIn, cutover, 'two days': twoDays, return: goBack, 'cutover again': cutoverAgain, cleanup: leaveLogto, archive, verify };
if (options.until && !(options.until in PHASES)) throw new Error(`--until takes one of ${Object.keys(PHASES).join(', ')}`);

const began = realNow();
const scene = await openMigration({ seed: number('seed', options.seed), main: options.live ? path.join(root, 'target/worker/live/index.js') : undefined });
const phases = [];
let failure;
const sampler = sampling(scene);
try {
  if (!await proveJudges()) throw new Error('a judge does not find what it is for');
  await populate(scene, { nUsers: number('users', options.users), seed: scene.seed });
  phases.push({ name: 'set-up', ms: realNow() - began, began, ahead: 0 });
  say(`set-up: ${scene.users.size} people at Logto, ${scene.points.users} with points, ${scene.ownPeople.length} of mgPass's own`);
  for (const [name, phase] of Object.entries(PHASES)) {
    const from = realNow();
    scene.heading(name);
    scene.mark(name);
    await phase(scene);
    phases.push({ name, ms: realNow() - from, began: from, ahead: aheadNow() });
    const { traffic } = scene;
    say(`${name}: ${((realNow() - from) / 1_000).toFixed(1)} s, ${(aheadNow() / 86_400).toFixed(1)} days on; ${traffic.reads.length} reads, ${traffic.writes.length} writes, ${traffic.stale} stale, ${scene.refreshes.filter(({ isDone }) => !isDone).length} of ${scene.refreshes.length} refreshes failed`);
    if (options.until === name) break;
  }
} catch (error) {
  failure = error;
} finally {
  sampler.stop();
  await scene.traffic?.stop();
}
if (!failure && !options.until) await sumUp(scene).catch((error) => { failure = error; });
const nMissed = scene.printTable();
const isGood = failure === undefined && nMissed === 0;
const seconds = (realNow() - began) / 1_000;
const page = writePage(scene, { phases, seconds, isGood, users: options.users, seed: options.seed });
for (const app of scene.apps) await app.close();
await scene.hooks?.close();
await scene.close();
if (failure) console.error(`\n${failure.stack}`);
console.log(`\n${phases.map(({ name, ms }) => `${name} ${(ms / 1_000).toFixed(1)} s`).join(', ')}; ${seconds.toFixed(1)} s in all`);
console.log(`the page: ${path.relative(root, page)}`);
console.log(`\nmigration: ${!isGood ? 'FAILED' : options.until ? 'passed, in part' : 'passed'}`);
process.exit(isGood ? 0 : 1);
