// What a fault costs whoever is at work meanwhile.

import { pause } from './scene.mjs';

const isGood = (entry) => (entry.status >= 200 && entry.status < 300) || (entry.kind === 'delete' && entry.status === 404);

const sum = (list) => ({ n: list.length, good: list.filter(isGood).length, bad: list.filter((entry) => !isGood(entry)).length, list });

/** Some time of traffic, and what it came to. */
export async function seen(scene, forMs) {
  const { traffic } = scene;
  const [nReads, nWrites] = [traffic.reads.length, traffic.writes.length];
  await pause(forMs);
  return { reads: sum(traffic.reads.slice(nReads)), writes: sum(traffic.writes.slice(nWrites)) };
}
