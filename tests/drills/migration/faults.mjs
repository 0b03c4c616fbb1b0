// What a fault costs whoever is at work meanwhile.

import { settled } from '../cutover/judge.mjs';
import { MINUTE, pause } from './scene.mjs';

const isGood = (entry) => (entry.status >= 200 && entry.status < 300) || (entry.kind === 'delete' && entry.status === 404);

const sum = (list) => ({ n: list.length, good: list.filter(isGood).length, bad: list.filter((entry) => !isGood(entry)).length, list });

/** Some time of traffic, and what it came to. */
export async function seen(scene, forMs) {
  const { traffic } = scene;
  const [nReads, nWrites] = [traffic.reads.length, traffic.writes.length];
  await pause(forMs);
  return { reads: sum(traffic.reads.slice(nReads)), writes: sum(traffic.writes.slice(nWrites)) };
}

/** No writes for as long as the mirror needs; a write that nobody answered is looked at a quarter of an hour later. */
export async function calm(scene) {
  await scene.traffic.quiet();
  for (let n = 0; ; n += 1) {
    const isSettled = await settled(scene, { withinMs: n === 0 ? 2_000 : 300 }).then(() => true, () => false);
    if (isSettled) break;
    if (n === 25) throw new Error(`nothing settles: ${JSON.stringify(await scene.proxyRows('SELECT * FROM intents WHERE discharged_at IS NULL LIMIT 5'))} ${JSON.stringify(await scene.proxyRows("SELECT * FROM subjects WHERE subject IN (SELECT subject FROM intents WHERE discharged_at IS NULL) LIMIT 3"))}`);
    await scene.pass(MINUTE);
  }
  scene.traffic.resume();
}
