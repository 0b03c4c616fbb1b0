// What the runs of the import share: the built command as a process of its own, the
// workerd process as the system sees it, and an oracle that knows the mapping by itself.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';

import { controlOf, SECRETS } from '../../harness/sandbox/sandbox.mjs';
import { people } from '../../harness/sandbox/population.mjs';
import { root } from '../../e2e/support.mjs';

export { root };

const began = performance.now();
export const say = (line) => console.log(`${String(Math.round((performance.now() - began) / 1000)).padStart(5)} s  ${line}`);
export const group = (number) => Math.round(number).toLocaleString('en');

/** The command, started; `done` is {status, signal, stdout, stderr, json()}. */
export function startDwp(proxyUrl, args, { onLine = () => {}, env = {} } = {}) {
  const child = spawn(path.join(root, 'target/debug/dwp'), args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH, DWP_URL: proxyUrl, ADMIN_TOKEN: SECRETS.ADMIN_TOKEN, ...env },
  });
  const stderr = [];
  createInterface({ input: child.stderr }).on('line', (line) => { stderr.push(line); onLine(line); });
  const done = Promise.all([
    text(child.stdout), new Promise((resolve, reject) => child.on('error', reject).on('close', (status, signal) => resolve({ status, signal }))),
  ]).then(([stdout, { status, signal }]) => ({ status, signal, stdout, stderr: stderr.join('\n'), json: () => JSON.parse(stdout) }));
  return { child, done };
}

/** Run to its end; any other status than the allowed is an error. */
export async function dwp(proxyUrl, args, { allowed = [0], ...options } = {}) {
  const result = await startDwp(proxyUrl, args, options).done;
  if (!allowed.includes(result.status)) throw new Error(`dwp ${args.join(' ')}: status ${result.status}\n${result.stderr}\n${result.stdout.slice(0, 4_000)}`);
  return result;
}

/** Peak and present memory in MB, processor time in ms (a clock tick is 10 ms on Linux). */
export function usage(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const mb = (name) => Math.round(Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)[1]) / 1024);
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ');
  return { peakMb: mb('VmHWM'), mb: mb('VmRSS'), cpuMs: (Number(fields[11]) + Number(fields[12])) * 10 };
}

export async function fill(logto, { count, seed }) {
  const control = controlOf(logto);
  for (const rows of people({ count, seed })) await control.call('POST', '/users/rows', rows);
}

const e164 = (digits) => (digits !== null && /^[1-9]\d{4,14}$/.test(digits) ? `+${digits}` : null);
const seconds = (ms) => (ms === null ? null : Math.floor(ms / 1_000));
const providers = ['google', 'apple', 'facebook'];

/** The row that mgPass should hold, by the table in docs/operations.md and not by the Worker's code. */
const wanted = (user, row) => JSON.stringify([
  user.primaryEmail, e164(user.primaryPhone), user.name || user.username || null, user.avatar, user.isSuspended ? 1 : 0,
  user.customData, seconds(user.createdAt),
  // A later sign-in at mgPass is its own.
  Math.max(seconds(user.lastSignInAt) ?? 0, row.last_sign_in_at ?? 0) || null,
  providers.filter((target) => user.identities[target]).map((target) => [target, user.identities[target].userId, user.identities[target].details ?? null]).sort(),
]);
const held = (row) => JSON.stringify([
  row.email, row.phone, row.name, row.avatar, row.is_suspended, JSON.parse(row.metadata), row.created_at, row.last_sign_in_at,
  JSON.parse(row.identities).map(([provider, id, data]) => [provider, id, data === null ? null : JSON.parse(data)]).sort(),
]);

const PAGE = 500;
const SELECT = `SELECT u.id, u.email, u.phone, u.name, u.avatar, u.is_suspended, u.metadata, u.created_at, u.last_sign_in_at,
    (SELECT json_group_array(json_array(provider, provider_user_id, profile_data)) FROM social_identities s WHERE s.user_id = u.id) AS identities
  FROM users u JOIN logto_mirror m ON m.user_id = u.id WHERE u.deleted_at IS NULL AND m.tombstone = 0 AND u.id > ?1 ORDER BY u.id LIMIT ${PAGE}`;

/** Both stores, row by row: {n, missing, extra, differing}, each a list of ids. */
export async function compareStores(sandbox) {
  const truth = new Map([...sandbox.logto.users.values()].map((user) => [user.id, user]));
  const found = { n: 0, missing: [], extra: [], differing: [] };
  const seen = new Set();
  for (let last = ''; ;) {
    const { results } = await sandbox.databases.mgpass.prepare(SELECT).bind(last).all();
    for (const row of results) {
      found.n += 1;
      seen.add(row.id);
      const user = truth.get(row.id);
      if (user === undefined) found.extra.push(row.id);
      else if (wanted(user, row) !== held(row)) found.differing.push(row.id);
    }
    if (results.length < PAGE) break;
    last = results.at(-1).id;
  }
  for (const id of truth.keys()) if (!seen.has(id)) found.missing.push(id);
  return found;
}

/** Everything an import may write, as counts and one digestible text per table. */
export async function snapshot({ databases: { mgpass } }) {
  const one = async (sql) => (await mgpass.prepare(sql).all()).results;
  return {
    users: await one('SELECT id, email, phone, name, avatar, metadata, is_suspended, suspension_reason, created_at, last_sign_in_at, deleted_at, email_verified, phone_verified FROM users ORDER BY id'),
    identities: await one('SELECT id, user_id, provider, provider_user_id, profile_data FROM social_identities ORDER BY id'),
    roles: await one('SELECT user_id, role_id FROM user_roles ORDER BY user_id, role_id'),
    // mgPass's own entries tell of effects that were owed before: five a minute are paid.
    audit: await one("SELECT id FROM audit_logs WHERE actor_id = 'logto_mirror' ORDER BY id"),
    mirror: await one('SELECT user_id, tombstone, digest, residue, obstacles FROM logto_mirror ORDER BY user_id'),
    ledger: await one('SELECT * FROM points_ledger ORDER BY id').catch(() => []),
    balances: await one('SELECT user_id, total_points, lifetime_earned, tier FROM user_rewards ORDER BY user_id').catch(() => []),
  };
}
