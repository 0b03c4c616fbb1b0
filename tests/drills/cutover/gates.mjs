// The gates: each refuses alone, by its name, and is opened as it says itself.

import { NEW_SECRET, pause, until } from './scene.mjs';

const WAIVED = { checklist: true, certificate: true, applications: true };
const waive = (gate) => ['handover', 'waive', gate, '--reason', 'the drill has none', '--actor', 'drill'];

export async function gates(scene) {
  const { stdout } = await scene.dwp('handover gates --json', { allowed: [0, 1] });
  // None is asked between two stages, and in the last one.
  return new Map((JSON.parse(stdout) ?? []).map((gate) => [gate.name, gate]));
}

const shut = (all) => [...all.values()].filter(({ state }) => state === 'shut').map(({ name }) => name);

/** The guard's last three verdicts are given once a second here. */
async function readsOpen(scene) {
  try {
    await until('the guard passes', async () => (await gates(scene)).get('reads').state === 'open', { withinMs: 90_000, everyMs: 1_000 });
  } catch (error) {
    const verdicts = await scene.sandbox.databases.metrics.prepare('SELECT verdict, reason, figures FROM verdicts ORDER BY id DESC LIMIT 3').all();
    throw new Error(`${error.message}: ${JSON.stringify(verdicts.results)}`);
  }
}

/** Under traffic a user may be met in mid-change at both looks: then once more, as an operator would. */
async function compare(scene) {
  for (let turn = 0; turn < 4; turn += 1) {
    await scene.dwp('report --run', { allowed: [0, 1] });
    if ((await gates(scene)).get('equality').state === 'open') return;
  }
}

/** Everything that a hand-over needs, in a new term too. */
export async function openGates(scene) {
  await scene.dwp('import users --no-inspect --watch', { allowed: [0, 1] });
  for (const gate of Object.keys(WAIVED)) if ((await gates(scene)).get(gate).state === 'shut') await scene.dwp(waive(gate));
  await compare(scene);
  // What failed on purpose has stopped the ramp: an operator knows why, and says go on.
  if ((await scene.status()).guard !== null) await scene.put('guard', null, (status) => status.guard === null);
  await readsOpen(scene);
  const all = await gates(scene);
  if (shut(all).length > 0) throw new Error(`gates shut: ${shut(all).map((name) => `${name}: ${all.get(name).why} ${all.get(name).names}`).join('; ')}`);
}

export async function refuseOneByOne(scene, traffic) {
  scene.heading('Gates');
  const refused = [];

  /** `dwp stage cutover --wait` ends with 1, names the gate, and nothing is announced. */
  async function alone(name) {
    if (name !== 'reads') await readsOpen(scene);
    const before = shut(await gates(scene));
    const { status, stdout } = await scene.dwp('stage cutover --wait', { allowed: [0, 1] });
    const row = await scene.proxyRow('SELECT holder, announced_at FROM authority');
    const isRefused = status === 1 && row.holder === 'logto' && row.announced_at === null && stdout.includes(`shut   ${name}`);
    await scene.dwp('stage dual_write');
    const isSo = isRefused && before.length === 1 && before[0] === name;
    refused.push(name);
    scene.expect(`gate ${name}`, isSo ? 'refuses alone' : `${before.join('+') || 'none shut'}, status ${status}, ${row.holder}`, 'refuses alone', isSo);
  }

  const initially = shut(await gates(scene));
  for (const gate of Object.keys(WAIVED)) if (initially.includes(gate)) await scene.dwp(waive(gate));
  await readsOpen(scene);
  await alone('equality');
  await compare(scene);

  await scene.dwp('handover disarm');
  await alone('armed');
  await scene.dwp('handover arm --for 4h');

  for (const gate of initially.filter((name) => WAIVED[name])) {
    await scene.dwp(['handover', 'unwaive', gate]);
    await alone(gate);
    await scene.dwp(waive(gate));
  }

  await scene.put('read_percent', '99.99', (status) => status.read_bps === 9_999);
  await alone('reads');
  await scene.put('read_percent', '100', (status) => status.read_bps === 10_000);
  await readsOpen(scene);

  // Deleted at Logto past the proxy: nobody but Logto says so.
  const gone = scene.spare.pop();
  scene.users.delete(gone);
  await scene.dwp(`replay --user ${gone}`);
  await until('parked', async () => (await gates(scene)).get('parked').state === 'shut', { withinMs: 30_000, everyMs: 500 });
  await alone('parked');
  await scene.dwp(`confirm-deletion ${gone}`);
  await until('deleted', async () => (await gates(scene)).get('parked').state === 'open', { withinMs: 60_000, everyMs: 500 });

  await scene.proxyRow(`INSERT INTO intents (id, subject, operation, opened_at, expires_at) SELECT 'drill', 'drill', 'users.patch', unixepoch() * 1000 - 120000, unixepoch() * 1000 - 60000 RETURNING id`);
  await alone('intents');
  await scene.proxyRow(`DELETE FROM intents WHERE id = 'drill' RETURNING id`);

  await scene.proxyRow(`INSERT INTO passwords (subject, state, ticket, n_gaps, since) VALUES ('drill', 'carrying', 0, 0, unixepoch() * 1000) RETURNING subject`);
  await alone('passwords');
  await scene.proxyRow(`DELETE FROM passwords WHERE subject = 'drill' RETURNING subject`);

  await scene.proxyRow(`UPDATE counters SET value = value + 1 WHERE name IN ('epoch', 'unrecorded') RETURNING value`);
  await until('everybody is behind', async () => (await gates(scene)).get('epoch').state === 'shut');
  // Reads leave mgPass with the epoch; the newest verdicts are still of before.
  const isAlone = shut(await gates(scene));
  const { status } = await scene.dwp('stage cutover --wait', { allowed: [0, 1] });
  await scene.dwp('stage dual_write');
  scene.expect('gate epoch', isAlone.join('+'), 'refuses', status === 1 && isAlone.includes('epoch'));
  refused.push('epoch');
  await scene.dwp('import users --no-inspect --watch', { allowed: [0, 1] });
  await readsOpen(scene);

  // Whoever is written meanwhile would not be kept.
  await traffic.quiet();
  const { sql } = await scene.mgpassRow(`SELECT sql FROM sqlite_schema WHERE name = 'logto_mirror_unique_new'`);
  await scene.sandbox.databases.mgpass.prepare('DROP TRIGGER logto_mirror_unique_new').run();
  await alone('unique');
  await scene.sandbox.databases.mgpass.prepare(sql).run();
  traffic.resume();

  const all = await gates(scene);
  const never = [...all.keys()].filter((name) => !refused.includes(name) && !(name in WAIVED && !initially.includes(name)));
  scene.expect('gates that never refused', never.join(', ') || 'none', 'none', never.length === 0);
  const { status: isGreen } = await scene.dwp('handover gates', { allowed: [0, 1] });
  scene.expect('gates in the end', `${[...all.values()].filter(({ state }) => state === 'open').length} open, ${[...all.values()].filter(({ state }) => state === 'waived').map(({ name }) => name).join(', ') || 'none'} waived`, 'none shut', isGreen === 0);
  await pause(500);
}
