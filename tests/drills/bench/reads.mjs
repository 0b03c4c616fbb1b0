// What a read costs that mgPass serves through the proxy, beside the same read made
// of mgPass direct; and what a client notices of its reads being compared.
//
// A whole deployment (deployment.mjs), one client, in turns. mgPass tells a user and
// the user's identities in two calls; the proxy makes both at once, so "direct" does
// too. A client may notice a comparison in two ways, and each is measured alone:
//
//   its own answer   one read at a time, with a pause in which a comparison, which
//                    runs after the answer, comes to its end
//   the next answer  read upon read without a pause, so that comparisons of earlier
//                    reads share the isolate's one thread with the later ones. Here
//                    the proxy, the platform and both backends share the machine's
//                    cores too, so the figure is an upper bound

import { startLoad } from './load.mjs';
import { median, ratio, table } from './statistics.mjs';
import { management, managementToken, mgpassToken, pause } from '../../harness/sandbox/client.mjs';
import { populate, startDeployment } from './deployment.mjs';

const FULL = { rounds: 8, reads: 16, pause_ms: 250, slice_ms: 2000 };
const QUICK = { rounds: 2, reads: 4, pause_ms: 250, slice_ms: 500 };
const USERS = 50;

export async function run({ root, build, quick, scratch, print }) {
  const { rounds, reads, pause_ms, slice_ms } = quick ? QUICK : FULL;
  const deployment = await startDeployment({ root, build, scratch, name: 'reads' });
  const load = await startLoad();
  try {
    const { users, token, ask, direct } = await prepare(deployment);
    const set = async (flags) => {
      for (const [key, value] of Object.entries(flags)) await deployment.flag(key, value);
      // Cron reads the flags anew.
      await deployment.tick();
    };
    const through = (id) => ask('GET', `/users/${id}`);
    const plain = { read_percent: '0', compare_percent: '0' };
    const compared = { read_percent: '0', compare_percent: '100' };
    const cases = [
      { name: 'mgPass direct', read: direct, flags: {} },
      { name: 'mgPass through the proxy', read: through, flags: { read_percent: '100', compare_percent: '0' } },
      { name: 'the same, compared', read: through, flags: { read_percent: '100', compare_percent: '100' } },
      { name: 'Logto through the proxy', read: through, flags: plain },
      { name: 'the same, compared', read: through, flags: compared },
    ];
    const samples = cases.map(() => []);
    const streams = [plain, compared].map((flags) => ({ flags, p50: [], perSecond: [] }));
    const bytes = Buffer.byteLength((await through(users[0])).text);
    const before = await outcomes(deployment);
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
      for (const { flags, p50, perSecond } of round % 2 === 0 ? streams : streams.toReversed()) {
        await set(flags);
        const slice = await load.slice({
          url: deployment.proxy.url, path: `/api/users/${users[0]}`, headers: { Authorization: `Bearer ${token}` },
          connections: 1, bytes, duration_ms: slice_ms,
        });
        await pause(pause_ms);
        if (round === 0) continue;
        p50.push(slice.p50_us);
        perSecond.push((slice.requests * 1000) / slice.elapsed_ms);
      }
    }
    const figures = cases.map(({ name }, index) => ({ name, p50_us: Math.round(median(samples[index])) }));
    const ratios = {
      through_to_direct: ratio(samples[1], samples[0]),
      compared_to_not_mgpass: ratio(samples[2], samples[1]),
      compared_to_not_logto: ratio(samples[4], samples[3]),
      compared_to_not_next: ratio(streams[1].p50, streams[0].p50),
    };
    const of = ({ median: middle, min, max }, what) => `${middle.toFixed(2)} of ${what} (${min.toFixed(2)} to ${max.toFixed(2)})`;
    const beside = ['', of(ratios.through_to_direct, 'direct'), of(ratios.compared_to_not_mgpass, 'not compared'), '',
      of(ratios.compared_to_not_logto, 'not compared')];
    print(table([['one read, then a pause', 'p50 us', ''], ...figures.map(({ name, p50_us: time }, index) => [name, time, beside[index]])]));
    const stream = ({ p50, perSecond }) => [Math.round(median(p50)), Math.round(median(perSecond))];
    print(`\n${table([
      ['read upon read, served by Logto', 'p50 us', 'a second', ''],
      ['not compared', ...stream(streams[0]), ''],
      ['compared', ...stream(streams[1]), of(ratios.compared_to_not_next, 'not compared')],
    ])}`);
    const made = await outcomes(deployment);
    const counted = Object.entries(made).map(([label, count]) => [label, count - (before[label] ?? 0)]);
    print(`comparisons: ${counted.map(([label, count]) => `${label} ${count}`).join(', ')}`);
    print(`Medians of ${rounds} rounds; a ratio is the median of the rounds' ratios, with the smallest and the largest.`);
    return { rounds, reads, slice_ms, figures, ratios, comparisons: Object.fromEntries(counted) };
  } finally {
    load.stop();
    await deployment.close();
  }
}

/** Of all comparisons that the proxy has written down so far. */
async function outcomes({ platform }) {
  const rows = await platform.query('METRICS_DB', "SELECT label, sum(count) AS n FROM samples WHERE metric = 'compared' GROUP BY label");
  return Object.fromEntries(rows.map(({ label, n }) => [label, n]));
}

async function prepare(deployment) {
  await deployment.flag('stage', 'dual_write');
  await deployment.tick();
  const token = await managementToken(`${deployment.proxy.url}/oidc`);
  const own = await mgpassToken(deployment.mgpass.url);
  const users = await populate(deployment, USERS);
  const atMgpass = management(deployment.mgpass.url, own);
  const direct = async (id) => {
    const answers = await Promise.all([atMgpass('GET', `/users/${id}`), atMgpass('GET', `/users/${id}/identities`)]);
    return answers.find(({ status }) => status !== 200) ?? answers[0];
  };
  return { users, token, ask: management(deployment.proxy.url, token), direct };
}
