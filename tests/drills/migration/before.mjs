// From an untouched Logto to two equal sides: stage off, shadow, the import, the keys, the
// proof of equality.

import { createPrivateKey } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';

import { startTraffic } from '../cutover/traffic.mjs';
import { calm, seen } from './faults.mjs';
import { giveRoads, givePasswords, isReady, refreshAll, registerPeople } from './people.mjs';
import { mendPoints, mendTaken, TAKEN } from './population.mjs';
import { CALM_MS, DAY, MINUTE, OLD_SECRET, pause, READ_MS, renewing, say, until } from './scene.mjs';

export async function off(scene) {
  scene.sandbox.logto.admitOnly([OLD_SECRET]);
  const byOne = await registerPeople(scene);
  scene.expect('off: registered; the second application signs in by the first', `${byOne} of ${scene.people.length}`, 'all', byOne === scene.people.length);
  const people = new Set(scene.people.map(({ subject }) => subject));
  const ids = [...scene.users.values()].filter(({ id, isSuspended }) => !isSuspended && !TAKEN.includes(id) && id !== scene.probe.PROBE_USER && !people.has(id)).map(({ id }) => id);
  const nWritten = Math.min(300, Math.floor(ids.length / 4));
  scene.spare = ids.slice(-Math.floor(ids.length / 4));
  scene.ask = renewing(scene);
  await scene.ask('GET', `/users/${ids[0]}`);
  scene.traffic = startTraffic(scene, {
    ask: scene.ask, written: ids.slice(0, nWritten), read: ids.slice(nWritten, -scene.spare.length),
    readers: 4, readEveryMs: READ_MS, writeEveryMs: CALM_MS, mostWrites: 30, registerEveryMs: 2_000, dice: scene.dice,
  });
  // A pipe asks mgPass nothing.
  await scene.mgpass.off();
  const { reads, writes } = await seen(scene, 600);
  await scene.mgpass.on();
  scene.fault('off', 'mgPass down', `${reads.good} of ${reads.n} reads, ${writes.good} of ${writes.n} writes done`);
  scene.expect('off, mgPass down: nobody notices', `${reads.bad + writes.bad} failed`, '0', reads.bad + writes.bad === 0 && reads.n > 0);
  await refreshAll(scene, 'off');
}

export async function shadow(scene) {
  await scene.put('stage', 'shadow', (status) => status.stage === 'shadow');
  // The outbox answers too late for a write to wait for it: the Queue has it.
  await scene.stores([{ store: 'DB', sql: '^INSERT INTO intents', late_ms: 600 }]);
  const { reads, writes } = await seen(scene, 800);
  const [hits] = await scene.stores();
  scene.fault('shadow', 'D1 slow', `${hits} statements 600 ms late; ${writes.good} of ${writes.n} writes done`);
  scene.expect('shadow, D1 slow: refused', `${reads.bad + writes.bad}`, '0', reads.bad + writes.bad === 0 && hits > 0);
  await refreshAll(scene, 'shadow');
}

export async function importAll(scene) {
  scene.dwpImport = scene.startDwp('import users --watch --lanes 4', { onLine: (line) => say(`     dwp: ${line}`) });
  await until('the import is under way', async () => (await scene.proxyRow("SELECT count(*) AS n FROM job_users"))?.n > 20, { withinMs: 30_000, everyMs: 30 }).catch(() => {});
  const at = await scene.proxyRow('SELECT count(*) AS n FROM job_users');
  await scene.killed();
  // What was cut off is looked at a quarter of an hour later.
  await scene.pass(16 * MINUTE);
  const isDone = async () => (await scene.proxyRow("SELECT state FROM jobs WHERE kind = 'users' ORDER BY id DESC LIMIT 1"))?.state === 'done';
  await scene.passUntil('the import ends', isDone, { stepMs: 5_000, restMs: 300 });
  const result = await scene.dwpImport.done;
  scene.fault('import', 'workerd killed', `after ${at.n} people; the command went on and ended with ${result.status}`);
  await calm(scene);
  await giveRoads(scene, scene.ask);
  // The other stays until a person has decided.
  await mendTaken(scene, 1);
  const isWhole = ({ outcomes: { equal: n, parked: waiting = 0, deleted = 0 }, total: all }) => all === n + waiting + deleted;
  const job = (await scene.dwp('watch users --once --json', { allowed: [0, 1] })).json();
  // Whoever came while it ran is in the next one.
  const { outcomes, total, parked, notes } = isWhole(job) ? job : (await scene.dwp('import users --watch --json', { allowed: [0, 1] })).json();
  say(`     ${JSON.stringify({ total, outcomes, parked, notes })}`);
  const wanted = ['unknown_provider', 'phone_not_e164', 'mfa_not_carried', 'sso_not_carried', 'username_not_carried', 'username_as_name'];
  const missing = wanted.filter((code) => !Object.keys(notes ?? {}).some((note) => note.split(':')[0] === code));
  scene.expect('import: obstacles named', missing.length === 0 ? `${wanted.length} kinds` : `without ${missing}`, 'each', missing.length === 0);
  scene.expect('import: people', `${outcomes.equal} of ${total} equal, ${outcomes.parked ?? 0} parked ${JSON.stringify(parked)}`, 'all but who waits for a person', isWhole({ outcomes, total }) && (outcomes.parked ?? 0) <= 2);
  await importPoints(scene);
  await refreshAll(scene, 'import');
}

async function importPoints(scene) {
  const first = (await scene.dwp('import points --watch --json', { allowed: [0, 1] })).json();
  await mendPoints(scene);
  const second = (await scene.dwp('import points --watch --json', { allowed: [0, 1] })).json();
  const codes = Object.keys(first.parked ?? {}).map((code) => code.split(':')[0]);
  scene.expect('points: garbage named, mended, imported', `${codes.sort().join(', ')}; then ${second.outcomes.parked ?? 0} parked`, 'unknown_tier, unknown_user; 0 but of who is parked', ['unknown_tier', 'unknown_user'].every((code) => codes.includes(code)) && (second.outcomes.parked ?? 0) <= 1);
}

const pem = (jwk) => createPrivateKey({ key: jwk, format: 'jwk' }).export({ type: 'pkcs8', format: 'pem' });

/** By the command, as the runbook has it; `stoppedAt`: seconds, or `not-yet`. */
export async function carryKeys(scene, name, { stoppedAt = 'not-yet', sunset }) {
  writeFileSync(scene.file('export.txt'), scene.keys.map(pem).join(''), { mode: 0o600 });
  const kv = scene.file(`${name}.json`);
  const { stdout } = await scene.dwp(['keys', 'import', '--input', scene.file('export.txt'), '--issuer', `${scene.url}/oidc`, '--stopped-at', String(stoppedAt),
    '--max-lifetime', '3600', '--sunset', String(sunset), ...(stoppedAt === 'not-yet' ? ['--jwks-url', `${scene.url}/oidc/jwks`] : []), '--private-out', scene.file(`${name}.pem`), '--kv-out', kv]);
  const { KEYS } = await scene.sandbox.proxy.getBindings();
  await KEYS.put('logto', readFileSync(kv, 'utf8'));
  // An isolate looks there once a minute.
  await scene.pass(2 * MINUTE);
  return stdout;
}

export async function keys(scene) {
  await scene.logto.faults([{ match: { method: 'GET', path: '^/oidc/jwks' }, latency_ms: 400 }]);
  const stdout = await carryKeys(scene, 'keys', { sunset: Math.floor((Date.now() + 120 * DAY) / 1_000) });
  await scene.logto.faults([]);
  scene.fault('keys', 'Logto slow', 'its key set 400 ms late');
  for (const block of readFileSync(scene.file('keys.pem'), 'utf8').match(/-----BEGIN[^]+?-----END [A-Z ]+-----/g)) {
    await scene.mgpass.call('POST', '/imported-keys', { issuer: `${scene.url}/oidc`, pem: block });
  }
  const shown = await until('the imported keys are in force', async () => { await scene.ask('GET', `/users/${scene.spare[0]}`); return (await scene.status()).keys?.imported; }, { withinMs: 20_000, everyMs: 200 });
  scene.expect('keys: published by Logto, imported at the edge and at mgPass', `${shown.answer.kids?.length ?? 0}`, `${scene.keys.length}`, stdout.includes('is published by Logto: same id') && shown.answer.kids?.length === scene.keys.length);
  await refreshAll(scene, 'keys');
}

export async function equality(scene) {
  await scene.put('stage', 'dual_write', (status) => status.stage === 'dual_write');
  await calm(scene);
  // A row at mgPass that somebody made lie, past every API.
  const liar = scene.spare.pop();
  await scene.mgpass.call('POST', '/users/alter', { id: liar, column: 'name', value: 'a lie' });
  const first = await scene.dwp('report --run --json', { allowed: [0, 1] });
  const { report } = first.json();
  // By the report, or by the walk before it.
  const isFound = report.unexplained > 0 || (await scene.proxyRow("SELECT count(*) AS n FROM findings WHERE user_id = ?1 AND code = 'altered_at_mgpass'", liar)).n > 0;
  await scene.dwp('report --run --repair', { allowed: [0, 1] });
  await scene.passUntil('the lie is undone', async () => (await scene.mgpassRow('SELECT name FROM users WHERE id = ?1', liar)).name !== 'a lie', { steps: 20 });
  const second = await equal(scene);
  scene.fault('equality', 'a lying row', `found ${report.unexplained > 0 ? 'by the report' : 'by the walk'}, undone`);
  scene.expect('equality', `${second.compared} compared, ${second.unexplained} unexplained; the lie ${isFound ? 'found' : 'not found'}`, '0; found', second.unexplained === 0 && second.compared > 0 && isFound);
  await givePasswords(scene, scene.people.filter(isReady));
  await givePasswords(scene, [{ subject: scene.probe.PROBE_USER, password: scene.probe.PROBE_PASSWORD }]);
  await refreshAll(scene, 'equality');
  await pause(100);
}

/** Under traffic somebody may be met in mid-change at both looks: then once more, as an operator would. */
export async function equal(scene) {
  let report;
  for (let turn = 0; turn < 4; turn += 1) {
    ({ report } = (await scene.dwp('report --run --json', { allowed: [0, 1] })).json());
    if (report.unexplained === 0) break;
  }
  return report;
}
