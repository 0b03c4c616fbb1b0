// What a fault costs whoever is at work meanwhile.

import { settled } from '../cutover/judge.mjs';
import { MINUTE, pause, until } from './scene.mjs';

const isGood = (entry) => (entry.status >= 200 && entry.status < 300) || (entry.kind === 'delete' && entry.status === 404);

const sum = (list) => ({ n: list.length, good: list.filter(isGood).length, bad: list.filter((entry) => !isGood(entry)).length, list });

/** Some time of traffic, at least a read and a write of it, and what it came to. */
export async function seen(scene, forMs) {
  const { traffic } = scene;
  const [nReads, nWrites] = [traffic.reads.length, traffic.writes.length];
  await pause(forMs);
  const isSeen = async () => traffic.reads.length > nReads && (traffic.writes.length > nWrites || !traffic.writesGoOn);
  await until('a read and a write', isSeen, { withinMs: 5_000, everyMs: 20 }).catch(() => {});
  return { reads: sum(traffic.reads.slice(nReads)), writes: sum(traffic.writes.slice(nWrites)) };
}

const OPEN = 'SELECT count(*) AS n, (SELECT value FROM counters WHERE name = \'sequence\') AS at FROM intents WHERE discharged_at IS NULL';

/** No writes for as long as the mirror needs, and cron as often; a write that nobody answered is looked at a quarter of an hour later. */
export async function calm(scene) {
  await scene.traffic.quiet();
  let before;
  for (let n = 0; ; ) {
    await scene.sandbox.tick();
    if (await settled(scene, { withinMs: 400 }).then(() => true, () => false)) break;
    const now = await scene.proxyRow(OPEN);
    const isAtWork = before === undefined || now.n !== before.n || now.at !== before.at;
    before = now;
    if (isAtWork) continue;
    n += 1;
    if (n === 8) throw new Error(`nothing settles: ${JSON.stringify(await scene.proxyRows('SELECT * FROM intents WHERE discharged_at IS NULL LIMIT 5'))}`);
    await scene.pass(16 * MINUTE);
  }
  scene.traffic.resume();
}
