// What draining meets: a writer that never ends, and sessions that are still to be ended.

import { held } from './judge.mjs';
import { inMs, pause, say, until } from './scene.mjs';

const OWED = 20;

/** Suspended at once: mgPass takes five revoke-alls a minute. */
export async function effectsOwed(scene, traffic) {
  const people = scene.spare.splice(0, OWED);
  for (const id of people) {
    const answer = await traffic.ask('PATCH', `/users/${id}/is-suspended`, { isSuspended: true });
    if (answer.status !== 200) throw new Error(`suspension: ${answer.status} ${answer.text}`);
  }
  scene.suspended = people;
}

/** Logto commits it and never answers; its client is gone. Begun just before draining does. */
export async function killedWriter(scene, traffic) {
  const id = scene.spare.shift();
  // A value of KV that was another two minutes ago is heard only after them.
  await until('announced', async () => (await scene.proxyRow('SELECT announced_until AS until FROM authority')).until !== null, { withinMs: 240_000, everyMs: 50 });
  const { until: until_ } = await scene.proxyRow('SELECT announced_until AS until FROM authority');
  await pause(Math.max(0, until_ - Date.now() - 2_000));
  await scene.logto.faults([{ match: { method: 'PATCH', path: `^/api/users/${id}$` }, commit_then: 'hang', times: 1 }]);
  const began = Date.now();
  traffic.ask('PATCH', `/users/${id}`, { name: 'killed' }).catch(() => {});
  await until('committed at Logto', () => scene.users.find(id).name === 'killed', { withinMs: 5_000 });
  return { id, began };
}

/** Draining waits for it until it has expired; then an operator lets it go. */
export async function letGo(scene, killed) {
  await scene.logto.faults([]);
  const owed = await scene.mgpassRow('SELECT count(*) AS n FROM logto_mirror_effects');
  scene.expect('draining: sessions still to be ended at mgPass', owed.n, `more than 0 of ${OWED}`, owed.n > 0);
  await pause(5_000);
  const { holder } = await scene.authority();
  scene.expect('draining: a writer that never ends', `${holder} after 5 s`, 'draining', holder === 'draining');
  const expired = () => scene.proxyRow(`SELECT count(*) AS n FROM intents WHERE subject = ?1 AND settled IS NULL AND discharged_at IS NULL AND expires_at <= unixepoch() * 1000`, killed.id);
  await until('it has expired', async () => (await expired()).n === 1, { withinMs: 70_000, everyMs: 500 });
  const { stdout } = await scene.dwp('handover let-go');
  say(stdout.trim());
  const { tookMs } = await until('drained', async () => (await scene.authority()).holder === 'mgpass', { withinMs: 30_000, everyMs: 50 });
  scene.expect('draining: let go during it', `${stdout.trim()}; mgpass ${inMs(tookMs)} later, ${Math.round((Date.now() - killed.began) / 1_000)} s after the write`, '1 write', stdout.startsWith('1 write'));
  const after = await scene.mgpassRow('SELECT count(*) AS n FROM logto_mirror_effects');
  scene.expect('handed over with sessions still to be ended', after.n, 'more than 0', after.n > 0);
}

export async function watchKilled(scene, traffic, { id }) {
  const list = await held(scene);
  const { stdout } = await scene.dwp(`stray list --user ${id} --json`, { allowed: [0, 1] });
  const found = JSON.parse(stdout).strays;
  scene.expect('the killed writer: its user', `${list.get(id)?.reason ?? 'not held'}; stray of ${found.map(({ source }) => source).join(', ') || 'nothing'}`, 'held, and a stray', list.has(id) && found.length > 0);
  await scene.dwp(`stray resolve ${id} --towards logto`);
  const { tookMs } = await until('mgPass has what Logto took', async () => (await scene.mgpassRow('SELECT name FROM users WHERE id = ?1', id)).name === 'killed', { withinMs: 60_000 }).catch(() => ({ tookMs: Infinity }));
  scene.expect('the killed writer: resolved towards Logto', `at mgPass after ${inMs(tookMs)}`, 'yes', Number.isFinite(tookMs));
}
