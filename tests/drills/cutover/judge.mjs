// What is true, counted at the backends: the Logto stand-in's users and what reached it,
// mgPass's rows. Nothing here asks the proxy.

import { compareStores } from '../import/support.mjs';
import { BACK, PROXY, until } from './scene.mjs';

// A sign-in may be finished at Logto whoever is the authority.
const SIGN_IN = new Set([
  'PUT /api/experience', 'POST /api/experience/verification/password', 'POST /api/experience/identification', 'POST /api/experience/submit',
]);
// The proxy's own calls by its own client: an id is reserved, given up, a password set and checked.
const OWN = /^(POST \/api\/users|DELETE \/api\/users\/[^/]+|PATCH \/api\/users\/[^/]+\/password|POST \/api\/users\/[^/]+\/password\/verify)$/;
const USERS = /^\/(api\/(users|my-account|experience|interaction|verifications)|consent)(\/|$)/i;

/** User writes of clients that reached Logto after a moment; the reverse mirror's client apart. */
export function clientsWrites(scene, from, to = Infinity) {
  return scene.atLogto.filter(({ at, method, path, caller }) => {
    const bare = path.split('?', 1)[0];
    if (at <= from || at > to || !USERS.test(bare) || caller === BACK.id) return false;
    const what = `${method} ${bare}`;
    if (caller === PROXY.id) return !OWN.test(what);
    return !(caller === 'nobody' && SIGN_IN.has(what)) && !bare.startsWith('/consent');
  });
}

export const backwards = (scene, from, to = Infinity) => scene.atLogto.filter(({ at, caller, path }) => at > from && at <= to && caller === BACK.id && USERS.test(path));

const versionOf = (name) => Number(/^v(\d+)$/.exec(name ?? '')?.[1] ?? 0);

/** What was acknowledged and a side does not have: 'mgpass' by its rows, 'logto' by its users. `aside`: who is held. */
export async function lost(scene, traffic, side, aside = new Set()) {
  // Of what was told before the rows are read.
  const [acknowledged, created, registered] = [traffic.acknowledged, traffic.created, traffic.registered].map((book) => new Map(book));
  const deletions = traffic.writes.filter(({ kind, status }) => kind === 'delete' && status === 204);
  const rows = side === 'logto'
    ? new Map([...scene.users.values()].map((user) => [user.id, user]))
    : new Map((await scene.mgpassRows('SELECT id, name FROM users WHERE deleted_at IS NULL')).map((row) => [row.id, row]));
  const missing = [];
  for (const [id, version] of acknowledged) if (!aside.has(id) && versionOf(rows.get(id)?.name) < version) missing.push(`${id} v${version} (${rows.get(id)?.name})`);
  for (const [id] of created) {
    if (!aside.has(id) && !traffic.deleted.has(id) && !rows.has(id)) missing.push(`${id} was created`);
  }
  for (const entry of deletions) if (!aside.has(entry.id) && rows.has(entry.id)) missing.push(`${entry.id} was deleted`);
  for (const [username, id] of registered) if (!aside.has(id) && !rows.has(id)) missing.push(`${username} registered as ${id}`);
  return missing;
}

/** Ids, of which one side has another user than the other. */
export async function unequal(scene, aside = new Set()) {
  const found = await compareStores(scene.sandbox);
  const ids = [...found.missing, ...found.extra, ...found.differing].filter((id) => !aside.has(id));
  return { n: found.n, ids };
}

/** Nothing on either side of the outbox is left, but for who is held. A gap in recording has everybody looked at. */
export async function settled(scene, { withinMs = 90_000 + 60 * scene.users.size } = {}) {
  const open = () => scene.proxyRow(`SELECT count(*) AS n FROM intents i WHERE discharged_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM held_subjects h WHERE h.subject = i.subject)
    AND NOT EXISTS (SELECT 1 FROM subjects s WHERE s.subject = i.subject AND s.parked IS NOT NULL)`);
  const { tookMs } = await until('nothing left in the outbox', async () => (await open()).n === 0, { withinMs, everyMs: 200 });
  return tookMs;
}

export async function held(scene) {
  const list = await scene.dwp('hold list --json', { allowed: [0, 1] });
  return new Map(list.json().users.map((row) => [row.id ?? row.subject, row]));
}
