// What the change of authority costs. Two deployments (deployment.mjs) of the same build,
// in turns:
//
//   before it   one armed, with a secret that only it sends and so in need of proof, beside
//               one that is not: what no rule claims, a read of a user at Logto, a write
//               there. Aim: nothing measurable
//   after it    mgPass is the authority: a write and a read through the proxy, beside the
//               same made of Logto direct and of mgPass direct. The proxy's write is
//               recorded, judged as Logto would, guarded, settled, and read back
//
// One client, one request at a time. Logto's stand-in runs in the client's own process,
// mgPass's behind a front of it: what they take is in every figure, and small beside it.

import { startLoad } from './load.mjs';
import { inTurns, median, ratio, table } from './statistics.mjs';
import { management, managementToken, mgpassToken, until } from '../../harness/sandbox/client.mjs';
import { controlOf, SECRETS } from '../../harness/sandbox/sandbox.mjs';
import { populate, startDeployment } from './deployment.mjs';

const FULL = { rounds: 12, requests: 40, slice_ms: 2_000 };
const QUICK = { rounds: 2, requests: 5, slice_ms: 300 };
const USERS = 60;
const SECRET = 'what-only-this-version-sends';
/** The lease as in production; Logto's deadline and late commits short, so that the announcement is. */
const ARMED = { HANDOVER_SECRET: SECRET, LOGTO_DEADLINE_MS: '2000', HANDOVER_LATE_S: '1' };
const GATES = ['checklist', 'certificate', 'equality', 'reads', 'unique', 'applications'];

export async function run({ root, build, quick, scratch, print }) {
  const { rounds, requests, slice_ms } = quick ? QUICK : FULL;
  const vars = { WALK: 'off', CHECK_EVERY_S: '0' };
  const unarmed = await startDeployment({ root, build, scratch, name: 'unarmed', vars });
  const load = await startLoad();
  let armed;
  try {
    armed = await startDeployment({ root, build, scratch, name: 'armed', vars: { ...vars, ...ARMED }, logto: { originSecret: SECRET } });
    const sides = [await prepare(unarmed), await prepare(armed)];
    await arm(armed);
    const before = await measureBefore({ sides, load, rounds, requests, slice_ms });
    await handOver(armed);
    const after = await measureAfter({ armed, side: sides[1], unarmed, rounds, requests });
    const of = ({ median: middle, min, max }, what) => `${middle.toFixed(2)} of ${what} (${min.toFixed(2)} to ${max.toFixed(2)})`;
    print(table([
      ['before the hand-over, p50 us', 'not armed', 'armed', ''],
      ...before.map(({ name, p50, armed_to_unarmed }) => [name, p50[0], p50[1], of(armed_to_unarmed, 'not armed')]),
    ]));
    print(`\n${table([
      ['after it, p50 us', 'Logto direct', 'mgPass direct', 'through the proxy', ''],
      ...after.map(({ name, p50, to_logto, to_mgpass }) => [name, ...p50, `${of(to_logto, 'Logto')}, ${of(to_mgpass, 'mgPass')}`]),
    ])}`);
    print(`Medians of ${rounds} rounds of ${requests} requests; a ratio is the median of the rounds' ratios, with the smallest and the largest.`);
    return { rounds, requests, slice_ms, before, after };
  } finally {
    load.stop();
    await armed?.close();
    await unarmed.close();
  }
}

async function prepare(deployment) {
  await deployment.flag('stage', 'dual_write');
  await deployment.flag('read_percent', '0');
  await deployment.flag('compare_percent', '0');
  await deployment.tick();
  const token = await managementToken(`${deployment.proxy.url}/oidc`);
  const users = await populate(deployment, USERS);
  return { deployment, token, users, ask: management(deployment.proxy.url, token) };
}

async function operator(deployment, method, route) {
  const answer = await fetch(`${deployment.proxy.url}/_proxy/${route}`, { method, headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${route}: ${answer.status} ${JSON.stringify(body)}`);
  return body;
}

const arm = (deployment) => operator(deployment, 'POST', 'handover/arm?for_s=14400');

async function handOver(deployment) {
  for (const gate of GATES) await operator(deployment, 'POST', `handover/waive?gate=${gate}&reason=bench&actor=bench`);
  await operator(deployment, 'POST', 'stage?to=cutover');
  let view;
  await until('mgPass is the authority', async () => {
    view = await operator(deployment, 'POST', 'handover/advance');
    return view.authority.holder === 'mgpass';
  }, { withinMs: 120_000, everyMs: 500 }).catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(view)}`); });
}

/** So many in turn; the median of what they took, in microseconds. */
async function timed(requests, one) {
  const times = [];
  for (let number = 0; number < requests; number += 1) {
    const began = performance.now();
    const { status } = await one(number);
    times.push((performance.now() - began) * 1_000);
    if (status !== 200) throw new Error(`status ${status}`);
  }
  return median(times);
}

let version = 0;
const change = (ask) => (id) => ask('PATCH', `/users/${id}`, { name: `n${(version += 1)}` });
const look = (ask) => (id) => ask('GET', `/users/${id}`);

async function measureBefore({ sides, load, rounds, requests, slice_ms }) {
  const bytes = await Promise.all(sides.map(async ({ deployment }) => (await (await fetch(`${deployment.proxy.url}/oidc/jwks`)).arrayBuffer()).byteLength));
  const kinds = [
    { name: 'what no rule claims', of: ({ deployment }, side) => async () => (await load.slice({
      url: deployment.proxy.url, path: '/oidc/jwks', headers: {}, connections: 1, bytes: bytes[side], duration_ms: slice_ms,
    })).p50_us },
    { name: 'a read of a user at Logto', of: ({ ask, users }) => (round) => timed(requests, (n) => look(ask)(users[(round + n) % users.length])) },
    { name: 'a user write at Logto', of: ({ ask, users }) => (round) => timed(requests, (n) => change(ask)(users[(round + n) % users.length])) },
  ];
  const found = [];
  for (const { name, of } of kinds) {
    const samples = await inTurns(rounds, sides.map(of));
    found.push({ name, p50: samples.map((values) => Math.round(median(values))), armed_to_unarmed: ratio(samples[1], samples[0]) });
  }
  return found;
}

/** Logto direct is the other deployment's, whose origin is open. */
async function measureAfter({ armed, side, unarmed, rounds, requests }) {
  await controlOf(armed.mgpass).call('PATCH', '/settings', { users_limit_per_minute: 1_000_000 });
  const atLogto = management(unarmed.logto.url, await managementToken(`${unarmed.proxy.url}/oidc`));
  const atMgpass = management(armed.mgpass.url, await mgpassToken(armed.mgpass.url));
  const logtoUsers = [...unarmed.logto.users.values()].map(({ id }) => id);
  const whole = async (id) => {
    // A user and the user's identities are two calls there.
    const answers = await Promise.all([atMgpass('GET', `/users/${id}`), atMgpass('GET', `/users/${id}/identities`)]);
    return answers.find(({ status }) => status !== 200) ?? answers[0];
  };
  const kinds = [
    { name: 'a user write', ways: [change(atLogto), change(atMgpass), change(side.ask)] },
    { name: 'a read of a user', ways: [look(atLogto), whole, look(side.ask)] },
  ];
  const found = [];
  for (const { name, ways } of kinds) {
    const of = (way, index) => (round) => timed(requests, (n) => {
      const users = index === 0 ? logtoUsers : side.users;
      return way(users[(round + n) % users.length]);
    });
    const samples = await inTurns(rounds, ways.map(of));
    found.push({
      name, p50: samples.map((values) => Math.round(median(values))), to_logto: ratio(samples[2], samples[0]), to_mgpass: ratio(samples[2], samples[1]),
    });
  }
  return found;
}
