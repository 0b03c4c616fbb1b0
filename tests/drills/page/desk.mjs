// The sandbox for the page: cron each second, a guard of seconds, every line of the log
// kept, and readers whose reads the plots show.

import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { management, managementToken, pause } from '../../harness/sandbox/client.mjs';
import { seedRewards } from '../../harness/sandbox/rewards.mjs';
import { controlOf, SECRETS, startSandbox } from '../../harness/sandbox/sandbox.mjs';
import { scratch } from '../../harness/sandbox/scratch.mjs';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const { directory: persistTo } = scratch('page');
const began = Date.now();
export const say = (line) => console.log(`${String(Math.round((Date.now() - began) / 1000)).padStart(4)} s  ${line}`);
export const TOKEN = SECRETS.ADMIN_TOKEN;

export async function openDesk({ main }) {
  const log = [];
  const sandbox = await startSandbox({
    persistTo,
    main: main && path.join(root, main),
    tickMs: 1_000,
    // What is slow here is this machine, not mgPass.
    vars: {
      GUARD_WINDOW_S: '5', GUARD_MIN_READS: '20', GUARD_MIN_COMPARED: '10', GUARD_MAX_P95_MS: '30000', GUARD_MAX_P95_PERCENT: '10000',
      METRICS_FLUSH_MS: '300', STANDING_DEADLINE_MS: '5000', MGPASS_DEADLINE_MS: '4000', COMPARISONS_PER_SECOND: '1000',
    },
    onLog: (line) => log.push(line),
  });
  await seedRewards(sandbox.databases.rewards);
  const origin = sandbox.proxy.url;
  const ask = management(origin, await managementToken(`${origin}/oidc`));
  const operator = async (method, route) => {
    const answer = await fetch(`${origin}/_proxy/${route}`, { method, headers: { authorization: `Bearer ${TOKEN}` } });
    const text = await answer.text();
    return { status: answer.status, text, json: () => JSON.parse(text) };
  };
  const desk = {
    sandbox, origin, log, ask, operator,
    logto: controlOf(sandbox.logto),
    mgpass: controlOf(sandbox.mgpass),
    flag: sandbox.flag,
    status: async () => (await operator('GET', 'status')).json(),
    readers: undefined,
    async close() {
      await desk.readers?.stop();
      await sandbox.close();
    },
  };
  return desk;
}

export async function until(what, asked, withinMs = 40_000) {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const answer = await asked();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`);
    await pause(300);
  }
}

export function startReaders(desk, ids, n = 3) {
  const traffic = { isOn: true };
  const reader = async (nth) => {
    for (let turn = nth; traffic.isOn; turn += n) {
      await desk.ask('GET', `/users/${ids[turn % ids.length]}`).catch(() => {});
      await pause(30);
    }
  };
  const loops = Array.from({ length: n }, (_, nth) => reader(nth));
  traffic.stop = async () => {
    traffic.isOn = false;
    await Promise.all(loops);
  };
  return traffic;
}

// A week that never was, in the table that plots are drawn of: a ramp with one bad hour.
// What cron keeps from now on follows it.
export async function writePast(desk) {
  const now = Date.now();
  const MINUTE = 60_000;
  const put = 'INSERT INTO timeline (width_ms, slot, stage, authority, asked_bps, allowed_bps, logto, mgpass, compared, mismatched, n_open, oldest_ms, n_parked, n_ready, n_mirrored, writes) VALUES (?, ?, ?, \'logto\', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 64, ?) ON CONFLICT (width_ms, slot) DO NOTHING';
  const rows = [];
  for (const [width, hours] of [[MINUTE, 1], [10 * MINUTE, 24], [60 * MINUTE, 168]]) {
    const slots = (hours * 60 * MINUTE) / width;
    for (let back = slots; back > 3; back -= 1) {
      const slot = Math.floor(now / width) * width - back * width;
      const age = back / slots;
      // Nobody was here for a while.
      if (age > 0.62 && age < 0.66) continue;
      const stage = age > 0.85 ? 'off' : age > 0.55 ? 'shadow' : 'dual_write';
      const asked = stage !== 'dual_write' ? 0 : age > 0.4 ? 1_000 : age > 0.2 ? 2_500 : 5_000;
      const isBad = age > 0.28 && age < 0.33;
      const allowed = isBad ? 0 : asked;
      const n = 200 + Math.round(80 * Math.sin(back / 5));
      const mine = Math.round((n * allowed * 0.94) / 10_000);
      const side = (reads, failures, at) => JSON.stringify({ reads, failures, durations: Array.from({ length: 12 }, (_, index) => (index === at ? reads - Math.ceil(reads / 12) : index === at + 2 ? Math.ceil(reads / 12) : 0)) });
      rows.push([width, slot, stage, asked, allowed, side(n - mine, isBad ? 3 : 0, 3 + (back % 2)), side(mine, age > 0.33 && age < 0.36 ? Math.round(mine / 3) : 0, 2), Math.round(n / 4), age > 0.33 && age < 0.37 ? 3 : 0, isBad ? 140 : back % 4, isBad ? 420_000 : (back % 4) * 900, age < 0.5 ? 2 : 0, 60, side(Math.round(n / 10), 0, 4)]);
    }
  }
  const { metrics } = desk.sandbox.databases;
  for (let from = 0; from < rows.length; from += 50) await metrics.batch(rows.slice(from, from + 50).map((row) => metrics.prepare(put).bind(...row)));
}
