// Stage cleanup and back: Logto is asked nothing, its tokens are told that it is retired, and after
// the way back they are as good as before.

import path from 'node:path';
import { rmSync } from 'node:fs';

import { pause, until } from '../../harness/sandbox/client.mjs';
import { gates } from '../cutover/gates.mjs';
import { NEW_SECRET, say } from '../cutover/scene.mjs';
import { fresh, walk, walkDesk } from './people.mjs';

/** What the runbook asks for before; what would take days is waived by name. */
async function openGates(scene) {
  await scene.dwp('cleanup keep-issuer');
  const now = Math.floor(Date.now() / 1_000);
  const { keys } = await (await fetch(`${scene.sandbox.logto.url}/oidc/jwks`, { headers: { 'x-proxy-secret': NEW_SECRET } })).json();
  const { KEYS } = await scene.sandbox.proxy.getBindings();
  await KEYS.put('logto', JSON.stringify({ issuer: `${scene.url}/oidc`, stopped_issuing_at: now + 3_600, max_lifetime_s: 3_600, sunset: now + 7_200, keys }));
  const residue = path.join(scene.persistTo, 'residue.gz');
  rmSync(residue, { force: true });
  await scene.dwp(['cleanup', 'residue', '--to', residue, '--through', 'gzip -c', '--actor', 'drill']);
  await scene.wrangler('stage', 'cleanup');
  // The key must have said so for two minutes.
  await until('the flag is old enough', async () => (await gates(scene)).get('flag')?.state === 'open', { withinMs: 240_000, everyMs: 2_000 });
  const waived = [];
  for (const { name, state } of (await gates(scene)).values()) {
    if (state !== 'shut') continue;
    await scene.dwp(['handover', 'waive', name, '--reason', 'a drill has no days', '--actor', 'drill']);
    waived.push(name);
  }
  say(`waived: ${waived.join(', ')}`);
}

export async function cleanup(scene, book) {
  scene.heading('Stage cleanup');
  await openGates(scene);
  const result = await scene.dwp('stage cleanup --wait', { allowed: [0, 1] });
  const { holder } = await scene.authority();
  scene.expect('dwp stage cleanup --wait', `${result.status}, ${holder}`, '0, alone', result.status === 0 && holder === 'alone');
  if (holder !== 'alone') throw new Error(result.stdout);
  // A lease, past which nobody asks Logto.
  await pause(5_000);
  await scene.logto.reset();
  const forecast = (await scene.dwp('app forecast --json', { allowed: [0, 1] })).json().people;
  const live = forecast.filter((row) => row.live).reduce((sum, { n }) => sum + n, 0);
  const held = new Set(book.sessions().filter(({ session }) => session.side === 'logto').map(({ session }) => session.subject));
  scene.expect("cleanup: people with tokens of Logto's; forecast", `${held.size + 1}; ${live}`, 'none beyond it', held.size + 1 <= live && held.size > 0);
  await book.refreshAll('cleanup', { retired: 'logto' });
  const leads = await Promise.all(book.people.everybody.map((person) => person.leadsTo(book.apps[0])));
  scene.expect('cleanup: login links that lead to mgPass', `${leads.filter((side) => side === 'mgpass').length} of ${leads.length}`, 'all', leads.every((side) => side === 'mgpass'));
  await walk(scene, book, 'cleanup', 'mgpass', { retired: true });
  const { error } = await fresh(book, book.desk);
  scene.expect('cleanup: @logto/browser is told', error, 'proxy.logto_retired', error === 'proxy.logto_retired');
  const { total, faulted } = await scene.logto.counters();
  scene.expect('cleanup: requests that reached Logto', total + faulted, '0', total + faulted === 0);
}

export async function backToCutover(scene, book) {
  scene.heading('Back to stage cutover');
  await scene.wrangler('stage', 'cutover');
  const result = await scene.dwp('stage cutover --wait', { allowed: [0, 1] });
  const { holder } = await scene.authority();
  scene.expect('dwp stage cutover --wait, from cleanup', `${result.status}, ${holder}`, '0, mgpass', result.status === 0 && holder === 'mgpass');
  if (holder !== 'mgpass') throw new Error(result.stdout);
  // An isolate that heard of the move to cleanup hears of this one within a lease.
  await pause(5_000);
  await book.refreshAll('cutover again');
  await walkDesk(scene, book, 'cutover again');
  await walk(scene, book, 'cutover again', 'mgpass');
}
