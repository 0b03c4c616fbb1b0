// The way back that does not wait: writes that hang across it, and mgPass dead.

import { held, settled } from './judge.mjs';
import { inMs, pause, say, until } from './scene.mjs';
import { mgpassOff, mgpassOn } from './at_mgpass.mjs';

const LATE_MS = 3_000;
// The settling of a translated write, and the guard of its batch, by words of their own.
const SETTLE = 'UPDATE intents SET settled .* AND settled IS NULL AND generation = ';
const GUARD = '^INSERT INTO logto_mirror \\(user_id, ticket, epoch, tombstone';

async function abandon(scene) {
  const began = Date.now();
  const result = await scene.dwp('stage dual_write --abandon-debt', { allowed: [0, 1] });
  say(result.stdout.trim().split('\n')[0]);
  return { tookMs: Date.now() - began, ...result };
}

export async function hangingWrites(scene, traffic) {
  scene.heading('Writes that hang across --abandon-debt');
  await traffic.quiet();
  // Whoever is owed something is held by name, and read at Logto as they are there: the last act has them.
  await settled(scene);
  const [atSettle, atGuard] = [scene.spare.splice(0, 5), scene.spare.splice(0, 5)];
  const before = new Map((await scene.mgpassRows('SELECT id, name FROM users WHERE id IN (SELECT value FROM json_each(?1))', JSON.stringify(atGuard))).map(({ id, name }) => [id, name]));
  const hang = async (people, rule) => {
    await scene.stores([rule]);
    const calls = people.map((id) => traffic.ask('PATCH', `/users/${id}`, { name: 'hung' }));
    await pause(700);
    return calls;
  };
  const settling = await hang(atSettle, { store: 'DB', sql: SETTLE, late_ms: LATE_MS });
  const [settleHits] = await scene.stores([{ store: 'MGPASS_DB', sql: GUARD, late_ms: LATE_MS }]);
  const guarded = atGuard.map((id) => traffic.ask('PATCH', `/users/${id}`, { name: 'hung' }));
  await pause(700);
  const { tookMs, status } = await abandon(scene);
  const { holder } = await scene.authority();
  scene.expect('--abandon-debt, mgPass alive', `${holder} after ${inMs(tookMs)}, status ${status}`, 'logto, seconds', holder === 'logto' && tookMs < 5_000);
  const answers = await Promise.all([...settling, ...guarded]);
  const [guardHits] = await scene.stores();
  const told = answers.filter(({ status: code }) => code < 500);
  scene.expect('writes that hung across it: acknowledged', `${told.length} of ${answers.length}: ${[...new Set(answers.map((answer) => `${answer.status} ${answer.json().code}`))].join(', ')}; ${settleHits} + ${guardHits} hung`, '0', told.length === 0 && settleHits >= 5 && guardHits >= 5);
  await pause(LATE_MS + 1_000);
  const after = await scene.mgpassRows('SELECT id, name FROM users WHERE id IN (SELECT value FROM json_each(?1))', JSON.stringify(atGuard));
  const landed = after.filter(({ id, name }) => name === 'hung' && before.get(id) !== 'hung');
  scene.expect('writes that hung before the batch: landed at mgPass after it', landed.length, '0', landed.length === 0);
  const list = await held(scene);
  const named = atSettle.filter((id) => list.has(id));
  scene.expect('writes that hung at their settling: users held by name', `${named.length} of ${atSettle.length}`, 'all', named.length === atSettle.length);
}

export async function mgpassDead(scene, traffic) {
  scene.heading('--abandon-debt with mgPass dead');
  traffic.resume();
  await pause(2_000);
  await traffic.quiet();
  await settled(scene);
  // Something that Logto lacks: the reverse mirror cannot reach it, then mgPass dies.
  await scene.logto.faults([{ match: { method: 'PATCH', path: '^/api/users/' }, status: 503, body: 'down' }]);
  const owed = scene.spare.splice(0, 8);
  for (const id of owed) {
    const answer = await traffic.ask('PATCH', `/users/${id}`, { avatar: 'https://cdn.example.test/lost.png' });
    if (answer.status !== 200) throw new Error(`a write before mgPass died: ${answer.status} ${answer.text}`);
  }
  await mgpassOff(scene);
  await scene.logto.faults([]);
  const { tookMs, status } = await abandon(scene);
  const { holder } = await scene.authority();
  scene.expect('--abandon-debt, mgPass dead', `${holder} after ${inMs(tookMs)}, status ${status}`, 'logto, seconds', holder === 'logto' && tookMs < 10_000);
  const list = await held(scene);
  const named = owed.filter((id) => list.has(id));
  scene.expect('--abandon-debt: whom Logto lacks something of, held by name', `${named.length} of ${owed.length}`, 'all', named.length === owed.length);
  const from = Date.now();
  traffic.resume();
  const { tookMs: firstMs } = await until('a write at Logto', () => traffic.writes.some(({ began, status: code }) => began > from && code === 200), { withinMs: 30_000 });
  await pause(4_000);
  const reads = traffic.reads.filter(({ began }) => began > from);
  const bad = reads.filter(({ status: code }) => code !== 200);
  scene.expect('mgPass dead, Logto the authority: traffic', `writes after ${inMs(firstMs)}, reader errors ${bad.length} of ${reads.length}`, 'both go on', bad.length === 0 && reads.length > 0);
  await mgpassOn(scene);
  const { tookMs: raisedMs } = await until('mgPass\'s database knows', async () => {
    const [ours, theirs] = [await scene.authority(), await scene.mgpassRow('SELECT generation FROM logto_mirror_authority')];
    return ours.generation === theirs.generation;
  }, { withinMs: 30_000 });
  scene.expect('mgPass back: its database told of the move', `after ${inMs(raisedMs)}`, 'yes', true);
}

/** Whoever is held is given back: Logto is the authority, and its values win. */
export async function release(scene, label) {
  const list = await held(scene);
  for (const id of list.keys()) await scene.dwp(`hold release ${id}`);
  const left = await held(scene);
  scene.expect(`${label}: held users released`, `${list.size - left.size} of ${list.size}`, 'all', left.size === 0);
}
