// What the mirror costs: a client in time, and a deployment in capacity. A whole
// deployment (deployment.mjs) in stage dual_write; every figure is a ratio of one run.
//
//   added latency     the same write through the proxy and to Logto itself, by turns,
//                     one at a time, while mgPass is fast, slow (2 s) and down (its
//                     API off, its database unreachable)
//   ceiling           writers without a pause, D1 as it is and D1 taking 5 ms for each
//                     batch, one after the other: D1 is one writer. `sustained` counts
//                     the time until the outbox is empty again
//   ack to equality   from the client's answer to the commit of that state in mgPass's
//                     database, as a trigger there notes it
//   backlog           users whom nobody woke, as after an outage of the Queue: how fast
//                     cron's sweeps have them reconciled, with cron slow and fast, and
//                     the share of turns that had nothing to cover
//   Logto's traffic   what Logto answers, with one platform service or mgPass down or
//                     slow (2 s), against all healthy

import { median, ratio, table } from './statistics.mjs';
import { LEAVE_INTENTS, management, managementToken, pause, until } from '../../harness/sandbox/client.mjs';
import { controlOf } from '../../harness/sandbox/sandbox.mjs';
import { populate, startDeployment } from './deployment.mjs';

const FULL = {
  users: 200, rounds: 8, writes: 12, pause_ms: 60, writers: 16, load_ms: 8_000, acked: 1_000, every_ms: 25, fault_rounds: 6, requests: 15, warm_up: 3, backlog: 5_000,
};
const QUICK = {
  users: 20, rounds: 2, writes: 3, pause_ms: 60, writers: 8, load_ms: 500, acked: 40, every_ms: 25, fault_rounds: 1, requests: 3, warm_up: 1, backlog: 300,
};
const SLOW_MS = 2_000;
const D1_MS = 5;
/** The proxy leaves a slow outbox alone for so long (`OUTBOX_REST_MS`). */
const REST_MS = 2_100;
/** Cron's minute, shortened; each sweep wakes everybody who waits. */
const SWEEP_MS = 3_000;
const BACKLOG_CRONS_MS = [10_000, 1_500];
const MAX_IDLE_SHARE = 0.05;

export async function run({ root, build, quick, scratch, print }) {
  const options = quick ? QUICK : FULL;
  // How writes were recorded, by the proxy's own lines: recorded, queued, gap.
  const recorded = {};
  const turns = { covered: 0, idle: 0 };
  let rest = '';
  const log = (chunk) => {
    const lines = (rest + String(chunk)).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      if (line.includes('"event":"mirror.reconciled"')) turns.covered += 1;
      if (line.includes('"code":"nothing_to_cover"')) turns.idle += 1;
      const how = /"plan.mirror":"(\w+)"/.exec(line)?.[1];
      if (how !== undefined) recorded[how] = (recorded[how] ?? 0) + 1;
    }
  };
  const deployment = await startDeployment({ root, build, scratch, name: 'mirror', log });
  try {
    const bench = { ...await prepare(deployment, recorded, options), turns };
    return {
      added: await addedLatency(bench, options, print),
      equality: await ackToEquality(bench, options, print),
      ceiling: await ceilings(bench, options, print),
      backlog: await backlogs(bench, options, print),
      traffic: await logtosTraffic(bench, options, print),
    };
  } finally {
    await deployment.close();
  }
}

async function prepare(deployment, recorded, { users: count }) {
  await deployment.flag('stage', 'dual_write');
  await deployment.flag('read_percent', '0');
  await deployment.flag('compare_percent', '0');
  await deployment.tick();
  const token = await managementToken(`${deployment.proxy.url}/oidc`);
  const users = await populate(deployment, count);
  let number = 0;
  const write = (ask) => async (id = users[number % users.length]) => {
    number += 1;
    const name = `Name ${number}`;
    const answer = await ask('PATCH', `/users/${id}`, { name });
    if (answer.status !== 200) throw new Error(`a write was answered by ${answer.status}: ${answer.text}`);
    return { id, name };
  };
  const { platform, proxy, logto } = deployment;
  const nOpen = async () => (await platform.query('DB', 'SELECT count(*) AS n FROM intents WHERE discharged_at IS NULL'))[0].n;
  return {
    ...deployment,
    users,
    token,
    ask: management(proxy.url, token),
    through: write(management(proxy.url, token)),
    direct: write(management(logto.url, token)),
    /** What an outage left waiting is not waited for. */
    async drained() {
      let swept = Date.now();
      await until('an empty outbox', async () => {
        if ((await nOpen()) === 0) return true;
        if (Date.now() - swept < SWEEP_MS) return false;
        swept = Date.now();
        await platform.query('DB', 'UPDATE subjects SET retry_at = 0 WHERE retry_at > 0');
        await platform.query('DB', "UPDATE counters SET value = 0 WHERE name = 'paused_until'");
        // Whose settling an outage swallowed is looked at for a quarter of an hour.
        await platform.query('DB', 'UPDATE intents SET opened_at = opened_at - 900000, expires_at = expires_at - 900000 WHERE settled IS NULL AND discharged_at IS NULL');
        await deployment.tick();
        return false;
      }, { withinMs: 180_000, everyMs: 100 });
    },
    recorded,
  };
}

const timed = async (action) => {
  const began = performance.now();
  await action();
  return (performance.now() - began) * 1000;
};

const percentile = (values, share) => values.toSorted((one, other) => one - other)[Math.min(values.length - 1, Math.floor(values.length * share))];
const of = ({ median: middle, min, max }) => `${middle.toFixed(2)} (${min.toFixed(2)} to ${max.toFixed(2)})`;

/** mgPass as it may be, and back. */
function states({ platform, mgpass }) {
  const { faults, off, on } = controlOf(mgpass);
  return [
    { name: 'fast', set: async () => {}, reset: async () => {} },
    { name: `slow (${SLOW_MS / 1000} s)`, set: () => faults([{ latency_ms: SLOW_MS }]), reset: () => faults([]) },
    {
      name: 'down',
      set: () => Promise.all([off(), platform.fault('MGPASS_DB', { down: true })]),
      reset: () => Promise.all([on(), platform.fault('MGPASS_DB', undefined)]),
    },
  ];
}

async function addedLatency(bench, { rounds, writes, pause_ms }, print) {
  const measured = states(bench).map((state) => ({ ...state, through: [], direct: [] }));
  for (let round = 0; round <= rounds; round += 1) {
    for (let turn = 0; turn < measured.length; turn += 1) {
      const state = measured[(round + turn) % measured.length];
      await state.set();
      const times = { through: [], direct: [] };
      for (let number = 0; number < writes; number += 1) {
        for (const way of number % 2 === 0 ? ['direct', 'through'] : ['through', 'direct']) {
          times[way].push(await timed(bench[way]));
          await pause(pause_ms);
        }
      }
      await state.reset();
      // The first round warms up.
      if (round === 0) continue;
      for (const way of ['through', 'direct']) state[way].push(median(times[way]));
    }
  }
  await bench.drained();
  const [fast] = measured;
  const figures = measured.map(({ name, through, direct }) => ({
    mgpass: name,
    direct_us: Math.round(median(direct)),
    through_us: Math.round(median(through)),
    added_us: Math.round(median(through.map((value, round) => value - direct[round]))),
    through_to_direct: ratio(through, direct),
    // Each beside its own direct writes, so that what else the machine does falls out.
    to_fast: ratio(through.map((value, round) => value / direct[round]), fast.through.map((value, round) => value / fast.direct[round])),
  }));
  print(table([
    ['one write, mgPass', 'direct us', 'mirrored us', 'added us', 'mirrored to direct', 'to mgPass fast'],
    ...figures.map((row) => [row.mgpass, row.direct_us, row.through_us, row.added_us, of(row.through_to_direct), of(row.to_fast)]),
  ]));
  return figures;
}

async function ackToEquality({ platform, users, through, drained }, { acked, every_ms }, print) {
  await platform.query('MGPASS_DB', 'CREATE TABLE bench_seen (id TEXT, name TEXT, at REAL)');
  await platform.query('MGPASS_DB', `CREATE TRIGGER bench_noted AFTER UPDATE OF name ON users WHEN OLD.name IS NOT NEW.name BEGIN
    INSERT INTO bench_seen VALUES (NEW.id, NEW.name, unixepoch('subsec') * 1000); END`);
  const writes = [];
  const began = performance.now();
  for (let number = 0; number < acked; number += 1) {
    writes.push(through(users[number % users.length]).then((written) => ({ ...written, at: Date.now() })));
    await pause(began + (number + 1) * every_ms - performance.now());
  }
  const told = await Promise.all(writes);
  await drained();
  const seen = new Map((await platform.query('MGPASS_DB', 'SELECT id, name, min(at) AS at FROM bench_seen GROUP BY id, name')).map((row) => [`${row.id} ${row.name}`, row.at]));
  await platform.query('MGPASS_DB', 'DROP TRIGGER bench_noted');
  // A state that a later write of the same user overtook was never to be seen.
  const waits = told.map(({ id, name, at }) => seen.get(`${id} ${name}`) - at).filter((wait) => !Number.isNaN(wait));
  const figures = {
    writes: acked, seen: waits.length, per_second: Math.round(1000 / every_ms),
    p50_ms: Math.round(percentile(waits, 0.5)), p95_ms: Math.round(percentile(waits, 0.95)), max_ms: Math.round(Math.max(...waits)),
  };
  print(`\nfrom acknowledgement to equality in mgPass: p50 ${figures.p50_ms} ms, p95 ${figures.p95_ms} ms, longest ${figures.max_ms} ms; `
    + `${acked} writes at ${figures.per_second} a second, ${figures.seen} of their states seen there`);
  if (waits.length < acked * 0.9) throw new Error(`only ${waits.length} of ${acked} states reached mgPass`);
  return figures;
}

async function ceilings(bench, options, print) {
  const cases = [{ name: 'as it is', fault: undefined }, { name: `${D1_MS} ms a batch`, fault: { service_ms: D1_MS } }];
  const figures = [];
  for (const { name, fault } of cases) {
    await bench.platform.fault('DB', fault);
    figures.push({ d1: name, ...await load(bench, options) });
    await bench.platform.fault('DB', undefined);
  }
  const [healthy, slow] = figures;
  print(`\n${table([
    ['writers without a pause, D1', 'answered a second', 'sustained a second', 'p50 us', 'p95 us', 'D1 batches a write', 'by the Queue %'],
    ...figures.map((row) => [row.d1, row.answered_per_s, row.sustained_per_s, row.p50_us, row.p95_us, row.batches_per_write.toFixed(1), row.queued_percent]),
  ])}`);
  print(`${options.writers} writers. At ${D1_MS} ms a batch, ${Math.round(slow.sustained_per_s / healthy.sustained_per_s * 100)} % of the sustained rate; `
    + `one D1 then takes ${1000 / D1_MS} batches a second.`);
  return figures;
}

async function load({ platform, users, through, drained, recorded }, { writers, load_ms }) {
  const before = (await platform.counters()).DB;
  const { queued: queuedBefore = 0, gap: gapsBefore = 0 } = recorded;
  const began = performance.now();
  const times = [];
  await Promise.all(Array.from({ length: writers }, async (_, writer) => {
    const own = users.filter((_id, index) => index % writers === writer);
    for (let number = 0; performance.now() - began < load_ms; number += 1) times.push(await timed(() => through(own[number % own.length])));
  }));
  const loaded_s = (performance.now() - began) / 1000;
  await drained();
  const whole_s = (performance.now() - began) / 1000;
  const { queued = 0, gap = 0 } = recorded;
  if (gap > gapsBefore) throw new Error(`${gap - gapsBefore} writes were not recorded`);
  return {
    answered_per_s: Math.round(times.length / loaded_s),
    sustained_per_s: Math.round(times.length / whole_s),
    p50_us: Math.round(percentile(times, 0.5)),
    p95_us: Math.round(percentile(times, 0.95)),
    batches_per_write: ((await platform.counters()).DB - before) / times.length,
    queued_percent: Math.round(((queued - queuedBefore) / times.length) * 100),
  };
}

async function backlogs({ platform, logto, tick, turns }, { backlog }, print) {
  const nOpen = async () => (await platform.query('DB', 'SELECT count(*) AS n FROM intents WHERE discharged_at IS NULL'))[0].n;
  const figures = [];
  for (const cron_ms of BACKLOG_CRONS_MS) {
    const users = Array.from({ length: backlog }, (_, index) => {
      const user = { username: `backlog_${cron_ms}_${index}`, name: `Name ${index}` };
      return logto.users.create(user).id;
    });
    await platform.query('DB', LEAVE_INTENTS, [JSON.stringify(users)]);
    const before = { ...turns };
    const began = performance.now();
    let ticked = -Infinity;
    await until('an empty outbox', async () => {
      if (performance.now() - ticked >= cron_ms) {
        ticked = performance.now();
        await tick();
      }
      return (await nOpen()) === 0;
    }, { withinMs: 1_200_000, everyMs: 100 });
    const took_s = (performance.now() - began) / 1000;
    // Its last lines come over a pipe.
    await pause(500);
    const [covered, idle] = [turns.covered - before.covered, turns.idle - before.idle];
    const share = idle / (covered + idle);
    figures.push({ cron_ms, subjects: backlog, drained_per_s: Math.round(backlog / took_s), seconds: Math.round(took_s), turns: covered + idle, idle_percent: Number((share * 100).toFixed(1)) });
    if (covered < backlog) throw new Error(`only ${covered} turns were seen for ${backlog} subjects`);
    if (share > MAX_IDLE_SHARE) throw new Error(`${idle} of ${covered + idle} turns had nothing to cover`);
  }
  print(`\n${table([
    ['a backlog, cron every', 'subjects', 'drained a second', 'seconds', 'turns', 'with nothing to cover %'],
    ...figures.map((row) => [`${row.cron_ms / 1000} s`, row.subjects, row.drained_per_s, row.seconds, row.turns, row.idle_percent]),
  ])}`);
  return figures;
}

async function logtosTraffic(bench, { fault_rounds, requests, warm_up, pause_ms }, print) {
  const { platform, mgpass, proxy, users, ask, through, drained } = bench;
  const empty = () => ({ pass: [], read: [], write: [] });
  const { faults, off, on } = controlOf(mgpass);
  const one = (binding, fault) => ({ set: () => platform.fault(binding, fault), reset: () => platform.fault(binding, undefined) });
  const down = { down: true };
  const slow = { latency_ms: SLOW_MS };
  const cases = [
    // Against itself: what the ratios below mean.
    { name: 'all healthy', set: async () => {}, reset: async () => {} },
    { name: 'D1 down', ...one('DB', down) },
    { name: 'D1 slow', ...one('DB', slow) },
    { name: 'Queue down', ...one('MIRROR_QUEUE', down) },
    { name: 'Queue slow', ...one('MIRROR_QUEUE', slow) },
    { name: 'KV down', ...one('FLAGS', down) },
    { name: 'KV slow', ...one('FLAGS', slow) },
    { name: 'mgPass down', set: off, reset: on },
    { name: 'mgPass slow', set: () => faults([{ latency_ms: SLOW_MS }]), reset: () => faults([]) },
  ].map((each) => ({ ...each, healthy: empty(), faulty: empty(), longest_ms: 0 }));
  const discovery = async () => {
    const answer = await fetch(`${proxy.url}/oidc/.well-known/openid-configuration`);
    await answer.arrayBuffer();
    if (answer.status !== 200) throw new Error(`discovery was answered by ${answer.status}`);
  };
  const read = async () => {
    const answer = await ask('GET', `/users/${users[0]}`);
    if (answer.status !== 200) throw new Error(`a read was answered by ${answer.status}`);
  };
  const kinds = { pass: discovery, read, write: () => through() };
  const block = async () => {
    const [times, warm] = [empty(), empty()];
    for (let number = -warm_up; number < requests; number += 1) {
      for (const [kind, action] of Object.entries(kinds)) (number < 0 ? warm : times)[kind].push(await timed(action));
      // What a write starts behind its answer is not to be on the next one's way.
      await pause(pause_ms);
    }
    // What comes first after a rest, or after a fault, is not what follows; the longest counts all.
    const longest_ms = Math.max(...Object.values(times).concat(Object.values(warm)).flat()) / 1000;
    return { times, longest_ms };
  };
  for (let round = 0; round <= fault_rounds; round += 1) {
    for (let turn = 0; turn < cases.length; turn += 1) {
      const each = cases[(round + turn) % cases.length];
      const faulty = async () => {
        await each.set();
        const outcome = await block();
        await each.reset();
        return outcome;
      };
      // Side by side, so that both see the same machine, and each comes first by turns.
      const sides = (round + turn) % 2 === 0 ? [['healthy', block], ['faulty', faulty]] : [['faulty', faulty], ['healthy', block]];
      for (const [side, action] of sides) {
        const { times, longest_ms } = await action();
        // A slow outbox is left alone for a while; the next block begins without that.
        if (side === 'faulty') await pause(REST_MS);
        // The first round warms up.
        if (round === 0) continue;
        for (const kind of Object.keys(kinds)) each[side][kind].push(median(times[kind]));
        if (side === 'faulty') each.longest_ms = Math.max(each.longest_ms, longest_ms);
      }
    }
  }
  await drained();
  const figures = cases.map(({ name, healthy, faulty, longest_ms }) => ({
    state: name,
    p50_us: Object.fromEntries(Object.entries(faulty).map(([kind, values]) => [kind, Math.round(median(values))])),
    to_healthy: Object.fromEntries(Object.entries(faulty).map(([kind, values]) => [kind, ratio(values, healthy[kind])])),
    longest_ms: Math.round(longest_ms),
  }));
  print(`\n${table([
    ["Logto's traffic, p50", 'pass-through us', 'to healthy', 'read us', 'to healthy', 'write us', 'to healthy', 'longest ms'],
    ...figures.map(({ state, p50_us: p50, to_healthy: to, longest_ms }) =>
      [state, p50.pass, of(to.pass), p50.read, of(to.read), p50.write, of(to.write), longest_ms]),
  ])}`);
  print('Slow is 2 s a call. The first write after D1 turns slow waits for the outbox deadline, and is the longest.');
  return figures;
}
