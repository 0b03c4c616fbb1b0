// Stage cleanup, and out by the back door: Logto is left alone, its last token ends, the
// route goes, everything is archived and cleared, nothing is left, and mgPass works.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

import { judgeBook, judgeCutover } from '../cutover/handover.mjs';
import { carryKeys } from './before.mjs';
import { calm, seen } from './faults.mjs';
import { forgetReplaced, givePasswords, goStraightToMgpass, isReady, move, refreshAll } from './people.mjs';
import { shutUntil } from './handing_over.mjs';
import { checklist } from './ready.mjs';
import { DAY, HOUR, MINUTE, pause, say, until } from './scene.mjs';

const SUNSET_DAYS = 120;
const waive = (scene, gate, ...name) => scene.dwp(['handover', 'waive', gate, ...name, '--reason', 'known, and told so', '--actor', 'ama']);

export async function leaveLogto(scene) {
  // Who has no road of their own is helped by a person, then everybody's next sign-in is at mgPass.
  const helped = scene.people.filter((person) => !isReady(person));
  await givePasswords(scene, helped);
  const came = await move(scene, helped);
  const asked = helped.map((person) => scene.asked.get(person) ?? 0);
  scene.expect('cleanup: who had no road, helped and asked anew', `${asked.length} people, ${asked.every((n) => n === 1) ? 'once each' : asked}; ${came.logto} led to Logto`, `${scene.forecast.helped}, once each, 0`, asked.every((n) => n === 1) && came.logto === 0);
  say(`     ${forgetReplaced(scene)} sessions at Logto replaced by one at mgPass`);

  await scene.dwp('cleanup keep-issuer');
  const sunset = Math.floor((Date.now() + SUNSET_DAYS * DAY) / 1_000);
  await carryKeys(scene, 'keys-before-leaving', { sunset });
  const until_ = new Date(Date.now() + 14 * DAY).toISOString().slice(0, 10);
  await scene.dwp(['cleanup', 'refresh-tokens', '--until', until_]);
  for (let n = 0; n < 4; n += 1) {
    await scene.pass(4 * DAY);
    await pause(100);
    await refreshAll(scene, `cleanup, day ${(n + 1) * 4}`);
  }
  await judgeCutover(scene, scene.traffic, 'cleanup, before it');
  const checks = await checklist(scene);
  const not = checks.filter(({ state }) => state !== 'green').map(({ name }) => name);
  for (const name of not) await waive(scene, 'checklist', name);
  await calm(scene);
  await scene.dwp(['cleanup', 'residue', '--to', scene.file('residue.gz'), '--through', 'gzip -c']);
  await waive(scene, 'dependencies', '--all');
  // The last token that the applications have of Logto's: good for an hour.
  await scene.ask.renew();
  scene.keepsToken = true;
  Object.assign(scene.traffic, { registers: false });
  await scene.traffic.quiet();
  // The flag is the wish: it is carried out once no place can be late, and no gate is shut.
  await scene.put('stage', 'cleanup', () => true);
  await scene.pass(3 * MINUTE);
  await shutUntil(scene, { steps: 15 });
  const { status, stdout } = await scene.dwp('stage cleanup --wait', { allowed: [0, 1] });
  say(`     dwp: ${stdout.trim().split('\n').at(-1)}`);
  const { holder } = await scene.authority();
  scene.expect('cleanup: reached', `${status}, ${holder}; waived of the checklist: ${not.join(', ') || 'none'}`, '0, alone', status === 0 && holder === 'alone');
  const { at } = (await scene.moves()).findLast(({ to_holder: to }) => to === 'alone');
  scene.mark('Logto is left alone');
  // The lease of those that had heard before; from then on Logto hears nothing.
  await scene.pass(MINUTE);
  scene.leftAt = at + MINUTE;
  // Isolates that know of nothing, and are told late.
  await scene.traffic.still();
  await scene.killed();
  await scene.stores([{ store: 'DB', late_ms: 300 }]);
  Object.assign(scene.traffic, { writesGoOn: true, readsGoOn: true });
  const { reads, writes } = await seen(scene, 800);
  await scene.stores();
  scene.fault('cleanup', 'workerd killed, D1 slow', `isolates that knew of nothing: ${reads.good} of ${reads.n} reads, ${writes.good} of ${writes.n} writes done`);
  scene.expect('cleanup: reads and writes go on without Logto', `${reads.bad} reads, ${writes.bad} writes failed`, '0, 0', reads.bad + writes.bad === 0 && reads.n > 0 && writes.n > 0);
  await judgeBook(scene, scene.traffic, 'cleanup', 'mgpass');
  await refreshAll(scene, 'cleanup');
}

export async function archive(scene) {
  await scene.traffic.still();
  const sunset = Math.floor((Date.now() + SUNSET_DAYS * DAY) / 1_000);
  await carryKeys(scene, 'keys-stopped', { stoppedAt: Math.ceil(scene.leftAt / 1_000), sunset });
  await goStraightToMgpass(scene);
  const early = await scene.dwp(['cleanup', 'plan'], { allowed: [1] });
  say(`     dwp: ${early.stdout.split('\n').find((line) => line.includes('BLOCKED'))?.trim()}`);
  await scene.pass(2 * HOUR);
  const ended = await fetch(`${scene.url}/oidc/.well-known/openid-configuration`);
  scene.expect("archive: Logto's documents after its last token", ended.status, '410', ended.status === 410);
  // Its applications talk to mgPass alone; nobody asks the proxy for three days.
  for (let n = 0; n < 4; n += 1) {
    await scene.pass(20 * HOUR);
    await refreshAll(scene, 'archive');
  }
  await scene.dwp(['cleanup', 'residue', '--to', scene.file('residue-last.gz'), '--through', 'gzip -c']);
  // Flags are deleted by hand but for one, which takes wrangler's two seconds.
  for (const key of ['applications', 'compare_percent', 'mgpass_pages', 'sign_in_percent', 'guard']) await scene.sandbox.flag(key, null);
  const files = ['history.jsonl', 'history-again.jsonl'].map(scene.file);
  const first = scene.startDwp(['cleanup', 'run', '--archive', files[0]], { onLine: (line) => say(`     dwp: ${line}`) });
  let hasEnded = false;
  first.done.then(() => { hasEnded = true; });
  await until('clearing has begun', async () => hasEnded || (await scene.proxyRow('SELECT count(*) AS n FROM cleanup_steps')).n > 0, { withinMs: 30_000, everyMs: 5 });
  first.child.kill('SIGKILL');
  await first.done;
  await scene.killed();
  const { n } = await scene.proxyRow('SELECT count(*) AS n FROM cleanup_steps WHERE done_at IS NOT NULL');
  const second = await scene.dwp(['cleanup', 'run', '--archive', files[1]], { allowed: [0, 1] });
  scene.fault('archive', 'workerd killed', `and the command with it, ${n} steps into clearing; said again it went on`);
  const history = readFileSync(files[0], 'utf8');
  const last = JSON.parse(history.trim().split('\n').at(-1));
  const before = history.slice(0, history.lastIndexOf('{"lines"'));
  const isWhole = last.sha256 === createHash('sha256').update(before).digest('hex');
  scene.expect('archive: cleared; the history is whole by its digest', `status ${second.status}, ${isWhole}, ${history.trim().split('\n').length} lines`, '0, true', second.status === 0 && isWhole);
  const residue = ['residue.gz', 'residue-last.gz'].flatMap((name) => execFileSync('gzip', ['-dc', scene.file(name)]).toString().trim().split('\n').filter(Boolean));
  scene.expect('archive: residue in files', `${residue.length} users`, 'more than 0', residue.length > 0);
  const { KEYS } = await scene.sandbox.proxy.getBindings();
  await KEYS.delete('logto');
}

export async function verify(scene) {
  const { status, stdout } = await scene.dwp('cleanup verify', { allowed: [0, 1] });
  scene.expect('verify: nothing is left', stdout.includes('LEFT') ? stdout.split('\n').filter((line) => line.includes('LEFT')).join('; ') : 'clean', 'clean', status === 0 && !stdout.includes('LEFT'));
  await refreshAll(scene, 'verify');
  const ids = [...scene.traffic.acknowledged.keys()].slice(0, 10);
  const shown = [];
  for (const id of ids) shown.push(await scene.mgpassApi('GET', `/users/${id}`));
  scene.expect("verify: mgPass's own API shows users", `${shown.filter(Boolean).length} of ${ids.length}`, 'all', shown.length > 0 && shown.every(Boolean));
  await judgeBook(scene, scene.traffic, 'in the end', 'mgpass');
}
