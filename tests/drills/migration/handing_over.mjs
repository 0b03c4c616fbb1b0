// The users change hands, two days pass, they come back, and change hands again.

import { release } from '../cutover/abandon.mjs';
import { gates } from '../cutover/gates.mjs';
import { judgeBook, judgeCutover, judgeEqual, wayBack } from '../cutover/handover.mjs';
import { DENSE_MS, tally } from '../cutover/traffic.mjs';
import { calm, seen } from './faults.mjs';
import { refreshAll } from './people.mjs';
import { gather } from './ready.mjs';
import { CALM_MS, DENSE_READ_MS, HOUR, MINUTE, NEW_SECRET, OLD_SECRET, pause, READ_MS, say, until } from './scene.mjs';

async function arm(scene) {
  const { logto } = scene.sandbox;
  const { handover_armed: isNew } = scene;
  if (!isNew) {
    logto.admitOnly([OLD_SECRET, NEW_SECRET]);
    await scene.traffic.still();
    await scene.deploy({ HANDOVER_SECRET: NEW_SECRET });
    await until('the new version answers', async () => (await scene.status()).stage === 'dual_write', { withinMs: 20_000, everyMs: 100 });
    logto.admitOnly([NEW_SECRET]);
    scene.traffic.resume();
    scene.handover_armed = true;
  }
  await scene.dwp('handover arm --for 4h');
}

/** Minute by minute until no gate is shut; who is in the way is named. */
export async function shutUntil(scene, steps) {
  let shut = [];
  const isOpen = async () => {
    shut = [...(await gates(scene)).values()].filter(({ state }) => state === 'shut');
    return shut.length === 0;
  };
  await scene.passUntil('gates', isOpen, steps).catch((error) => { throw new Error(`${error.message}; shut: ${shut.map(({ name, why, names }) => `${name}: ${why} ${names}`).join('; ') || 'none'}`); });
}

/** Applications that stay at Logto are let go by name; all else must be open. */
async function openGates(scene) {
  await scene.dwp(['handover', 'waive', 'applications', '--all', '--reason', 'known by name', '--actor', 'ama']);
  await shutUntil(scene, { restMs: 100 });
}

/**
 * To mgPass, by the command; again where the guard's newest verdict was in the way, or it went
 * back by itself. Logto is slow in the very minutes in which the last writes drain; `struck`
 * happens while it is announced.
 */
async function handOver(scene, label, { struck } = {}) {
  const { traffic } = scene;
  const causes = [];
  for (let turn = 1; ; turn += 1) {
    await openGates(scene);
    // It ends where a gate is shut at the end of the announcement; the wish stands, and is waited for again.
    const command = (async () => {
      for (;;) {
        const result = await scene.startDwp('stage cutover --wait', { onLine: (line) => say(`     dwp: ${line}`) }).done;
        if (!result.stdout.includes('waits for: gates (reads)')) return result;
      }
    })();
    let left;
    const look = async () => {
      const { holder, until: until_ } = await scene.proxyRow('SELECT holder, announced_until AS until FROM authority');
      left = until_ === null ? undefined : until_ - Date.now();
      return holder;
    };
    await until('announced', async () => (await look()) !== 'logto' || left !== undefined, { withinMs: 20_000 });
    scene.mark('announced');
    // What is cut off now is looked at before the announcement is over.
    if (turn === 1) await struck?.();
    // Eighteen minutes in production, and here.
    while (await look() === 'logto' && left > 2 * MINUTE) await scene.pass(left - 2 * MINUTE);
    await scene.logto.faults([{ match: { path: '^/api/users' }, latency_ms: 80 }]);
    Object.assign(traffic, { isDense: true, writeEveryMs: DENSE_MS, readEveryMs: DENSE_READ_MS });
    let isOver = false;
    command.then(() => { isOver = true; });
    // As many reads as the guard needs for its verdict.
    await scene.passUntil('draining', async () => isOver || await look() !== 'logto', { restMs: 250 });
    scene.mark('draining');
    const result = await command;
    Object.assign(traffic, { isDense: false, writeEveryMs: CALM_MS, readEveryMs: READ_MS });
    await scene.logto.faults([]);
    const { holder } = await scene.authority();
    if (holder === 'mgpass') break;
    const { cause } = (await scene.moves()).at(-1);
    causes.push(cause);
    say(`     not yet: ${holder}, ${cause}, ${result.stdout.trim()}`);
    if (turn === 4) throw new Error(`no hand-over: ${causes}`);
    await calm(scene);
    if (holder !== 'logto') await scene.passUntil('back by itself', async () => (await scene.authority()).holder === 'logto', { steps: 5 });
  }
  const moved = (await scene.moves()).findLast(({ to_holder: to, from_holder: from }) => to === 'mgpass' && from === 'draining');
  scene.movedAt = moved.at;
  const held = traffic.within(traffic.writes, moved.at - moved.held_ms, moved.at);
  const good = held.filter(({ status }) => status >= 200 && status < 300).length;
  const told = held.filter(({ status }) => status === 503).length;
  scene.mark('mgPass is the authority');
  scene.expect(`${label}: writes held while draining`, `${good} of ${held.length} done, ${tally(held.filter(({ status }) => status >= 300))}, ${moved.held_ms} ms${causes.length > 0 ? `; went back before: ${causes}` : ''}`, 'done, or told to come again', good + told === held.length && moved.held_ms < 120_000);
  return moved;
}

export async function cutover(scene) {
  await arm(scene);
  await handOver(scene, 'cutover');
  scene.fault('cutover', 'Logto slow', 'its answers 80 ms late while draining');
  await scene.put('stage', 'cutover', () => true);
  // And a place that has heard of nothing.
  await scene.stores([{ store: 'FLAGS', stale: { stage: 'off', read_percent: null, sign_in_percent: null } }]);
  await scene.pass(6_000);
  const { reads, writes } = await seen(scene, 700);
  await scene.stores();
  await scene.pass(6_000);
  scene.fault('cutover', 'KV late', `a place that still says off: ${reads.good} of ${reads.n} reads, ${writes.good} of ${writes.n} writes done, none at Logto`);
  await judgeCutover(scene, scene.traffic, 'cutover');
  await judgeBook(scene, scene.traffic, 'cutover', 'mgpass');
  await refreshAll(scene, 'cutover');
}

export async function twoDays(scene) {
  const { users } = scene;
  for (let n = 0; n < 6; n += 1) {
    await scene.pass(8 * HOUR);
    await pause(100);
    if (n === 1) await stray(scene);
    if (n === 3) await mgpassDown(scene);
    if (n % 3 === 2) await refreshAll(scene, `day ${(n + 1) / 3}`);
  }
  // One changes at mgPass's own page.
  const id = scene.spare.pop();
  await scene.mgpassApi('PATCH', `/users/${id}`, { name: 'Of the portal' });
  await scene.passUntil('a change at mgPass reaches Logto', () => users.find(id).name === 'Of the portal', { steps: 30 });
  scene.expect('two days: a change at mgPass\'s own page is at Logto', 'yes', 'yes', true);
  await judgeCutover(scene, scene.traffic, 'two days');
  await judgeBook(scene, scene.traffic, 'two days', 'mgpass');
  const { stdout } = await scene.dwp('watch cutover --once', { allowed: [0, 1] });
  say(`     dwp: ${stdout.trim().split('\n')[0]}`);
}

/** Somebody changes a user at Logto, around the proxy. */
async function stray(scene) {
  const id = scene.spare.pop();
  scene.users.update(id, { name: 'A stray' });
  const found = async () => (await scene.dwp('stray list --json', { allowed: [0, 1] })).json().strays.some(({ subject, path }) => subject === id && path === 'name');
  await scene.passUntil('the stray is found', found, { steps: 40 });
  await scene.dwp(`stray resolve ${id} --towards mgpass`);
  await scene.passUntil('the stray is gone', () => scene.users.find(id).name !== 'A stray', { steps: 20 });
  scene.fault('two days', 'a stray', 'found by user and field, resolved towards mgPass');
}

async function mgpassDown(scene) {
  await calm(scene);
  // The feed says up to when Logto has everything; readers go on.
  await scene.traffic.quiet();
  await scene.passUntil('no debt, log read', async () => {
    const sum = (await scene.dwp('debt --json', { allowed: [0, 1] })).json();
    return sum.users === 0 && sum.log_read_seconds_ago !== null && sum.log_read_seconds_ago < 10;
  }, { stepMs: 5_000 });
  await scene.mgpass.off();
  await scene.stores([{ store: 'MGPASS_DB', down: true }]);
  const { reads } = await seen(scene, 500);
  await scene.stores();
  await scene.mgpass.on();
  scene.traffic.resume();
  scene.fault('two days', 'mgPass down', `its API and its database; ${reads.good} of ${reads.n} reads answered by the fallback`);
  scene.expect('two days, mgPass down: reads by the fallback', `${reads.good} of ${reads.n}`, 'all', reads.good === reads.n && reads.n > 0);
  await scene.pass(MINUTE);
}

export async function goBack(scene) {
  await calm(scene);
  await scene.stores([{ store: 'MGPASS_DB', late_ms: 30 }]);
  scene.mark('on the way back');
  await wayBack(scene, scene.traffic, { label: 'return', isDisturbed: true, beforeMs: 500, afterMs: 500 });
  const [hits] = await scene.stores();
  scene.fault('return', 'D1 slow', `${hits} batches of mgPass's database 30 ms late`);
  scene.mark('Logto is the authority');
  await scene.put('stage', 'dual_write', (status) => status.stage === 'dual_write');
  await calm(scene);
  await judgeEqual(scene, scene.traffic, 'return');
  await release(scene, 'return');
  scene.traffic.resume();
  await refreshAll(scene, 'return');
}

export async function cutoverAgain(scene) {
  const { guard } = await scene.status();
  // It judged mgPass by the outage of before; an operator has found out why.
  if (guard) {
    say(`     the guard: ${JSON.stringify(guard)}; lifted`);
    await scene.put('guard', null, (status) => status.guard === null);
  }
  await gather(scene, 'certificate of the second term');
  await arm(scene);
  await handOver(scene, 'cutover again', { struck: () => scene.killed() });
  scene.fault('cutover again', 'workerd killed', 'while it was announced; it went on by itself');
  await scene.put('stage', 'cutover', () => true);
  await judgeCutover(scene, scene.traffic, 'cutover again');
  await judgeBook(scene, scene.traffic, 'cutover again', 'mgpass');
  await refreshAll(scene, 'cutover again');
}
