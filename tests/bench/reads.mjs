// What a read costs that mgPass serves through the proxy, beside the same read made
// of mgPass direct; and what a client notices of a read being compared.
//
// Whole sandbox, one client, one read at a time, in turns. mgPass tells a user and
// the user's identities in two calls; the proxy makes both at once, so "direct" does
// too. Between reads there is a pause in which a comparison, which runs after the
// answer, comes to its end: two cores carry the clients, both backends and the proxy.

import path from 'node:path';

import { controlOf, startSandbox } from '../sandbox/sandbox.mjs';
import { management, managementToken, mgpassToken, pause, until } from '../sandbox/client.mjs';
import { median, table } from './statistics.mjs';

const FULL = { rounds: 10, reads: 30, pause_ms: 15 };
const QUICK = { rounds: 2, reads: 5, pause_ms: 15 };
const USERS = 50;

export async function run({ quick, scratch, print }) {
  const { rounds, reads, pause_ms } = quick ? QUICK : FULL;
  const sandbox = await startSandbox({ persistTo: path.join(scratch, 'reads') });
  try {
    const { users, ask, direct } = await prepare(sandbox);
    const set = async (flags) => {
      for (const [key, value] of Object.entries(flags)) await sandbox.flag(key, value);
      // Cron reads the flags anew.
      await sandbox.tick();
    };
    const through = (id) => ask('GET', `/users/${id}`);
    const cases = [
      { name: 'mgPass direct', read: direct, flags: {} },
      { name: 'mgPass through the proxy', read: through, flags: { read_percent: '100', compare_percent: '0' } },
      { name: 'the same, compared', read: through, flags: { read_percent: '100', compare_percent: '100' } },
      { name: 'Logto through the proxy', read: through, flags: { read_percent: '0', compare_percent: '0' } },
      { name: 'the same, compared', read: through, flags: { read_percent: '0', compare_percent: '100' } },
    ];
    const samples = cases.map(() => []);
    for (let round = 0; round <= rounds; round += 1) {
      for (let turn = 0; turn < cases.length; turn += 1) {
        const index = (round + turn) % cases.length;
        await set(cases[index].flags);
        const times = [];
        for (let number = 0; number < reads; number += 1) {
          const began = performance.now();
          const answer = await cases[index].read(users[(round * reads + number) % users.length]);
          times.push((performance.now() - began) * 1000);
          if (answer.status !== 200) throw new Error(`${cases[index].name}: ${answer.status}`);
          await pause(pause_ms);
        }
        // The first round warms up.
        if (round > 0) samples[index].push(median(times));
      }
    }
    const figures = cases.map(({ name }, index) => ({ name, p50_us: Math.round(median(samples[index])) }));
    const versus = (one, other) => median(samples[one].map((value, round) => value / samples[other][round]));
    const ratios = {
      through_to_direct: versus(1, 0),
      compared_to_not_mgpass: versus(2, 1),
      compared_to_not_logto: versus(4, 3),
    };
    const beside = ['', `${ratios.through_to_direct.toFixed(2)} of direct`, `${ratios.compared_to_not_mgpass.toFixed(2)} of not compared`, '',
      `${ratios.compared_to_not_logto.toFixed(2)} of not compared`];
    print(table([['one read', 'p50 us', ''], ...figures.map(({ name, p50_us: time }, index) => [name, time, beside[index]])]));
    print(`Median of ${rounds} rounds of ${reads} reads each, one at a time.`);
    return { rounds, reads, figures, ratios };
  } finally {
    await sandbox.close();
  }
}

async function prepare(sandbox) {
  const token = await managementToken(`${sandbox.proxy.url}/oidc`);
  const own = await mgpassToken(sandbox.mgpass.url);
  await sandbox.flag('stage', 'dual_write');
  await sandbox.tick();
  await controlOf(sandbox.logto).call('POST', '/users/bulk', { count: USERS });
  const users = [...sandbox.logto.users.values()].map(({ id }) => id);
  const { MIRROR_QUEUE } = await sandbox.proxy.getBindings();
  for (const subject of users) await MIRROR_QUEUE.send({ kind: 'reconcile', subject }, { contentType: 'json' });
  const mirrored = () => sandbox.databases.mgpass.prepare('SELECT count(*) AS n FROM logto_mirror').first('n');
  await until('everybody mirrored', async () => (await mirrored()) >= users.length, { withinMs: 60_000 });
  const atMgpass = management(sandbox.mgpass.url, own);
  const direct = async (id) => {
    const answers = await Promise.all([atMgpass('GET', `/users/${id}`), atMgpass('GET', `/users/${id}/identities`)]);
    return answers.find(({ status }) => status !== 200) ?? answers[0];
  };
  return { users, ask: management(sandbox.proxy.url, token), direct };
}
