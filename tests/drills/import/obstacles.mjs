// A population with every kind of obstacle in it, and the report that an operator
// reads about it. Each obstacle is made as it comes about, not written into the proxy's
// own tables; each must be in the report under its code, with words.
//
// Steps: an ordinary import; then what goes wrong in the life of a migration, some of
// it through the proxy and some behind its back; a second import; the comparison.

import assert from 'node:assert/strict';

import { fillRewards } from '../../harness/sandbox/population.mjs';
import { management, managementToken, until } from '../../harness/sandbox/client.mjs';
import { controlOf, startSandbox } from '../../harness/sandbox/sandbox.mjs';
import { dwp, fill, say } from './support.mjs';

const PARKED = [
  'value_taken_at_mgpass', 'value_taken_in_logto', 'id_taken_at_mgpass', 'deleted_at_mgpass', 'deletion_unconfirmed', 'deletion_brake', 'too_many_failures',
];
const NOTES = ['unknown_provider', 'phone_not_e164', 'mfa_not_carried', 'sso_not_carried', 'username_not_carried', 'username_as_name'];
const POINTS = ['earned_at_mgpass', 'unknown_user', 'tier_mismatch', 'adjusted', 'not_posted'];

export async function obstacles({ directory, users = 2_000, seed }) {
  const sandbox = await startSandbox({ persistTo: directory, vars: { WALK: 'off', DELETIONS_PER_HOUR: '2' }, tickMs: 1_000 });
  try {
    await sandbox.flag('stage', 'dual_write');
    await fill(sandbox.logto, { count: users, seed });
    const { logto, databases: { mgpass } } = sandbox;
    // Ordinary people, whom nothing else is odd about.
    const plain = [...logto.users.values()].filter((user) => user.primaryEmail && !user.isSuspended && Object.keys(user.identities).length === 0);
    const next = () => plain.pop().id;
    const own = (id, email, more = {}) => mgpass.prepare("INSERT INTO users (id, email, phone, name, created_at) VALUES (?1, ?2, ?3, 'of mgPass itself', 1700000000)").bind(id, email, more.phone ?? null).run();
    const emailOf = (id) => logto.users.get(id).primaryEmail;

    // Before anybody came over: mgPass's own users in the way.
    const taken = [next(), next(), next()];
    for (const [index, id] of taken.entries()) await own(`own_${index}`, emailOf(id));
    await own(next(), 'somebody-else@example.test');
    const social = next();
    logto.users.update(social, { identities: { google: { userId: 'google-of-two', details: {} } } });
    await own('own_social', null, { phone: '+15550001' });
    await mgpass.prepare("INSERT INTO social_identities (id, user_id, provider, provider_user_id, created_at) VALUES ('si_own', 'own_social', 'google', 'google-of-two', 1700000000)").run();
    // No user as the contract has them: an id that no id of mgPass can be.
    logto.users.create({ id: 'x'.repeat(80), username: 'too_long_an_id' });
    await fillRewards(sandbox.databases.rewards, [...logto.users.values()].map(({ id }) => id), { seed });
    const first = await imported(sandbox);
    say(`first import: ${JSON.stringify(first.outcomes)} ${JSON.stringify(first.parked)}`);

    // Then life goes on, and not all of it through the proxy.
    const ask = management(sandbox.proxy.url, await managementToken(`${sandbox.proxy.url}/oidc`));
    await mgpass.prepare('UPDATE users SET deleted_at = 1700000000, email = NULL, phone = NULL WHERE id = ?1').bind(next()).run();
    logto.users.delete(next());
    // One after the other: deletions that are mirrored at the same moment do not count each other.
    for (let n = 0; n < 3; n += 1) {
      const id = next();
      await ask('DELETE', `/users/${id}`);
      await until('the mirror has judged the deletion', () => sandbox.databases.proxy.prepare("SELECT 1 FROM subjects WHERE subject = ?1 AND (parked IS NOT NULL OR last_outcome = 'deleted')").bind(id).first(), { withinMs: 30_000 });
    }
    // One waits for a value that a parked one holds.
    const [holder, waiting] = [next(), next()];
    const wanted = emailOf(holder);
    await own('own_holder', 'wanted-by-holder@example.test');
    logto.users.update(holder, { primaryEmail: 'wanted-by-holder@example.test' });
    logto.users.update(waiting, { primaryEmail: wanted });
    // Logto's answer about one user is not what its contract says.
    const broken = next();
    await controlOf(logto).faults([{ match: { method: 'GET', path: `^/api/users/${broken}(\\?|$)` }, status: 200, body: { id: broken } }]);
    await ask('PATCH', `/users/${broken}/is-suspended`, { isSuspended: true });
    const second = await imported(sandbox);
    say(`second import: ${JSON.stringify(second.outcomes)} ${JSON.stringify(second.parked)}`);
    await points(sandbox, next());

    // What nobody knows a reason for: mgPass's rows changed by somebody else.
    for (const [column, value] of [['name', 'somebody wrote this'], ['metadata', '{"plan":"other"}'], ['phone', '+15550123']]) {
      await mgpass.prepare(`UPDATE users SET ${column} = ?2 WHERE id = ?1`).bind(next(), value).run();
    }
    // Repair finds whom Logto does not have any more; they are parked until a person confirms.
    await dwp(sandbox.proxy.url, ['report', '--run', '--json'], { allowed: [1], onLine: say });
    await parkGone(sandbox);
    const { json } = await dwp(sandbox.proxy.url, ['report', '--run', '--json'], { allowed: [1] });
    const { stdout } = await dwp(sandbox.proxy.url, ['report'], { allowed: [1] });
    console.log(`\n${stdout}`);
    judge(json().report, stdout, first);
  } finally {
    await sandbox.close();
  }
}

async function imported(sandbox) {
  return (await dwp(sandbox.proxy.url, ['import', 'users', '--watch', '--json'], { allowed: [0, 1], onLine: say })).json();
}

// As an operator would: whoever is gone at Logto is looked at by the mirror.
async function parkGone(sandbox) {
  const { json } = await dwp(sandbox.proxy.url, ['differences', '--json'], { allowed: [1] });
  const gone = json().differences.filter(({ path, class: kind }) => path === 'user' && kind === 'extra');
  for (const { id } of gone) await dwp(sandbox.proxy.url, ['replay', '--user', id]);
  await until('the mirror has looked at them', async () => {
    const { json: view } = await dwp(sandbox.proxy.url, ['mirror', '--json']);
    return view().parked.some(({ reason }) => reason === 'deletion_unconfirmed');
  }, { withinMs: 60_000, everyMs: 1_000 });
}

async function points(sandbox, earner) {
  const { rewards, mgpass } = sandbox.databases;
  const now = 1_700_000_000;
  await rewards.batch([
    rewards.prepare("INSERT INTO rewards_users (user_id, total_points, lifetime_earned, tier, updated_at) VALUES ('nobody', 50, 50, 'bronze', ?1)").bind(now),
    rewards.prepare("INSERT INTO rewards_ledger (id, user_id, event_type, points, created_at) VALUES ('of-nobody', 'nobody', 'purchase', 50, ?1)").bind(now),
    rewards.prepare("INSERT OR REPLACE INTO rewards_users (user_id, total_points, lifetime_earned, tier, updated_at) VALUES (?1, 70, 70, 'bronze', ?2)").bind(earner, now),
  ]);
  await mgpass.prepare("INSERT INTO points_ledger (id, user_id, event_type, points, created_at) VALUES ('earned-here', ?1, 'purchase', 5, ?2)").bind(earner, now).run();
  const { json } = await dwp(sandbox.proxy.url, ['import', 'points', '--watch', '--json'], { allowed: [1], onLine: say });
  const job = json();
  say(`points: ${JSON.stringify(job.outcomes)} ${JSON.stringify(job.parked)} ${JSON.stringify(job.notes)}`);
  const codes = Object.keys({ ...job.parked, ...job.notes }).map((code) => code.split(':')[0]);
  assert.deepEqual(POINTS.filter((code) => !codes.includes(code)), []);
}

function judge(report, text, first) {
  assert.deepEqual(PARKED.filter((code) => !report.parked[code]), [], 'reasons that the report lacks');
  assert.ok(first.parked.unreadable > 0 && report.unreadable > 0, 'the unreadable row is named');
  assert.deepEqual(NOTES.filter((code) => !Object.keys(report.notes).some((note) => note.split(':')[0] === code)), [], 'notes that the report lacks');
  assert.deepEqual([report.is_equal, report.unexplained], [false, 3], JSON.stringify(report.differences));
  assert.ok(report.only_at_mgpass >= 5);
  assert.ok(!text.includes('no words for this code'), 'every code has words');
  for (const code of [...PARKED, ...NOTES, ...POINTS]) assert.ok(text.includes(`\`${code}\``), `${code} in the page for people`);
  assert.match(text, /no known reason: look at these first/);
}
