// The users change hands, and come back, with everybody at work: what that costs a write
// that falls into it, and what reached Logto afterwards.

import { clientsWrites, held, lost, settled, unequal } from './judge.mjs';
import { openGates } from './gates.mjs';
import { inMs, pause, percentile, say, until } from './scene.mjs';
import { CALM_MS, DENSE_MS, tally } from './traffic.mjs';

const GOOD = (entry) => (entry.status >= 200 && entry.status < 300) || (entry.kind === 'delete' && entry.status === 404);

const isAt = (scene, holder) => async () => (await scene.authority()).holder === holder;

/** When the newest move to this side was, by the log. */
async function movedAt(scene, to) {
  const row = (await scene.moves()).findLast((move) => move.to_holder === to && move.from_holder !== to);
  return row?.at;
}

/** What the writes came to that fell into a move. */
function judgeHeld(scene, traffic, { label, from, to, isDisturbed }) {
  const entries = traffic.within(traffic.writes, from, to);
  const took = entries.map((entry) => (GOOD(entry) ? entry.ended - entry.began : Infinity));
  const [p50, p99] = [percentile(took, 0.5), percentile(took, 0.99)];
  const odd = entries.filter((entry) => !GOOD(entry) && entry.status !== 503);
  if (odd.length > 0) say(`neither done nor 503: ${tally(odd)}`);
  scene.expect(`${label}: writes that fell into it`, `${entries.length} in ${((to - from) / 1_000).toFixed(1)} s, p50 ${inMs(p50)}, p99 ${inMs(p99)}, ${entries.filter(({ status }) => status === 503).length} x 503`,
    isDisturbed ? 'done or 503' : 'p50 and p99 finite', (entries.length > 0 || to - from < 1_000) && odd.length === 0 && (isDisturbed || p99 !== Infinity));
}

function judgeReads(scene, traffic, { label, from }) {
  const entries = traffic.within(traffic.reads, from);
  const bad = entries.filter(({ status }) => status !== 200);
  if (bad.length > 0) say(`reads that failed: ${tally(bad)}`);
  scene.expect(`${label}: reader errors, stale`, `${bad.length}, ${traffic.stale} of ${entries.length}`, '0, 0', bad.length === 0 && traffic.stale === 0 && entries.length > 0);
}

/** The guard judges every second under this load, and one verdict shuts the gate `reads` for three: then again. */
export async function insist(scene) {
  for (let turn = 1; ; turn += 1) {
    const result = await scene.startDwp('stage cutover --wait', { onLine: (line) => say(`  dwp: ${line}`) }).done;
    const isReads = result.status === 1 && result.stdout.includes('waits for: gates (reads)');
    if (!isReads || turn === 10) return result;
    await pause(2_000);
  }
}

/** Logto to mgPass. `begin` gives the wish, `during` is called once it drains. */
export async function handOver(scene, traffic, { label, begin, during, isDisturbed = false }) {
  scene.heading(label);
  await openGates(scene);
  traffic.resume();
  await pause(2_000);
  const from = Date.now();
  const command = begin === undefined ? insist(scene) : undefined;
  await begin?.();
  // Not before: the mirror must keep up until then, or the guard would hold.
  await until('the announcement is nearly over', async () => {
    const { holder, announced_until: until_ } = await scene.proxyRow('SELECT holder, announced_until FROM authority');
    return holder !== 'logto' || (until_ !== null && Date.now() > until_ - 300);
  }, { withinMs: 200_000, everyMs: 50 });
  traffic.writeEveryMs = DENSE_MS;
  await until('draining', async () => ['draining', 'mgpass'].includes((await scene.authority()).holder), { withinMs: 90_000, everyMs: 20 });
  await during?.();
  await until('mgPass is the authority', isAt(scene, 'mgpass'), { withinMs: 120_000, everyMs: 50 });
  const result = await command;
  if (result) say(result.stdout.trim());
  const [drained, moved] = [await movedAt(scene, 'draining'), await movedAt(scene, 'mgpass')];
  traffic.writeEveryMs = CALM_MS;
  await pause(4_000);
  scene.expect(`${label}: dwp ends with`, result?.status ?? 'the wish by KV', '0', result === undefined || result.status === 0);
  judgeHeld(scene, traffic, { label, from: drained, to: moved, isDisturbed });
  judgeReads(scene, traffic, { label, from });
  scene.movedAt = moved;
  return moved;
}

/** Nothing of clients reached Logto since it was handed over; what was told stands at mgPass. */
export async function judgeCutover(scene, traffic, label, until_ = Date.now()) {
  const through = clientsWrites(scene, scene.movedAt, until_);
  if (through.length > 0) console.error(through.slice(0, 5));
  const n = traffic.within(traffic.writes, scene.movedAt, until_).filter(GOOD).length;
  scene.expect(`${label}: clients' user writes that reached Logto`, `${through.length}, of ${n} done meanwhile`, '0', through.length === 0 && n > 0);
  const isKnowable = ({ began, ended }) => !(scene.unknowable && ended >= scene.unknowable.from && began <= scene.unknowable.to);
  const registrations = traffic.within(traffic.registrations, scene.movedAt + 3_000, until_).filter(isKnowable);
  const told = registrations.filter(({ status, code }) => status >= 400 && code === 'proxy.start_again');
  scene.expect(`${label}: registrations at Logto`, `${registrations.length - told.length} of ${registrations.length} went on`, '0, each told to start again', told.length === registrations.length);
  const signIns = traffic.within(traffic.signIns, scene.movedAt, until_).filter(isKnowable);
  const bad = signIns.filter(({ status }) => status !== 200);
  if (bad.length > 0) say(`sign-ins: ${tally(bad)}`);
  scene.expect(`${label}: sign-ins at Logto of people from before`, `${signIns.length - bad.length} of ${signIns.length}`, 'all', bad.length === 0);
}

export async function judgeBook(scene, traffic, label, side, aside) {
  const gone = await lost(scene, traffic, side, aside);
  scene.expect(`${label}: acknowledged, and not at ${side === 'logto' ? 'Logto' : 'mgPass'}`, `${gone.length} of ${traffic.acknowledged.size + traffic.created.size + traffic.registered.size} ${gone.slice(0, 3).join('; ')}`, '0', gone.length === 0);
}

/** A call back to Logto without an answer is waited for, 15 minutes in production: the rows' times are moved here. */
async function unansweredEnded(scene) {
  const open = () => scene.proxyRow(`SELECT count(*) AS n FROM (SELECT subject FROM debt WHERE class = 'unanswered' UNION SELECT subject FROM sent_back WHERE answered_at IS NULL)`);
  const { n } = await open();
  const { stdout } = await scene.dwp('debt --json', { allowed: [0, 1] });
  if (n === 0) return;
  const listed = JSON.parse(stdout).users;
  await scene.proxyRows(`UPDATE debt SET since = since - 900000 WHERE class = 'unanswered'`);
  await scene.proxyRows('UPDATE sent_back SET sent_at = sent_at - 900000');
  const { tookMs } = await until('looked at once more', async () => (await scene.proxyRow(`SELECT count(*) AS n FROM debt WHERE class = 'unanswered'`)).n === 0, { withinMs: 60_000, everyMs: 500 }).catch(() => ({ tookMs: Infinity }));
  scene.expect('calls back that nobody answered, 15 minutes later', `${n} users, ${listed} in debt before; looked at after ${inMs(tookMs)}`, 'looked at', listed >= n && Number.isFinite(tookMs));
}

/** mgPass to Logto, with everything carried over first. */
export async function wayBack(scene, traffic, { label, isDisturbed = false, beforeMs = 2_000, afterMs = 4_000 }) {
  scene.heading(label);
  // As an operator would: not while Logto lacks hundreds of writes.
  await traffic.quiet();
  await settled(scene, { withinMs: 300_000 });
  await unansweredEnded(scene);
  traffic.resume();
  await pause(beforeMs);
  const from = Date.now();
  traffic.writeEveryMs = DENSE_MS;
  const result = await scene.dwp('stage dual_write --wait', { allowed: [0, 1], onLine: (line) => say(`  dwp: ${line}`) });
  say(result.stdout.trim());
  const { holder } = await scene.authority();
  scene.expect(`${label}: dwp ends with`, `${result.status}, ${holder}`, '0, logto', result.status === 0 && holder === 'logto');
  if (holder !== 'logto') throw new Error('no way back');
  const [began, moved] = [await movedAt(scene, 'returning'), await movedAt(scene, 'logto')];
  traffic.writeEveryMs = CALM_MS;
  await pause(afterMs);
  judgeHeld(scene, traffic, { label, from: began, to: moved, isDisturbed });
  judgeReads(scene, traffic, { label, from });
  return moved;
}

/** Both sides hold the same users, and what anybody was told; but for who is held. */
export async function judgeEqual(scene, traffic, label) {
  await traffic.quiet();
  const aside = new Set((await held(scene)).keys());
  const tookMs = await settled(scene);
  await scene.dwp('import users --no-inspect --watch', { allowed: [0, 1] });
  await settled(scene);
  const sides = await unequal(scene, aside);
  scene.expect(`${label}: users equal on both sides`, `${sides.n - sides.ids.length} of ${sides.n}, ${aside.size} held, outbox empty after ${Math.round(tookMs / 1_000)} s ${sides.ids.slice(0, 3)}`, 'all', sides.ids.length === 0 && sides.n > 0);
  for (const side of ['logto', 'mgpass']) await judgeBook(scene, traffic, label, side, aside);
  const kept = await scene.mgpassRow(`SELECT count(*) AS n FROM users WHERE id IN (SELECT value FROM json_each(?1)) AND deleted_at IS NULL`, JSON.stringify(scene.ownPeople));
  scene.expect(`${label}: mgPass's own people`, `${kept.n} of ${scene.ownPeople.length}, at Logto ${scene.ownPeople.filter((id) => scene.users.get?.(id) ?? false).length}`, 'all, 0', kept.n === scene.ownPeople.length);
}
