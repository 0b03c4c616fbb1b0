// Who is there before anything moves: people at Logto with every obstacle that a table of
// years has, their points, mgPass's own users, two of whom stand in the way.

import { fillRewards, people } from '../../harness/sandbox/population.mjs';

const DAY_MS = 86_400_000;
const OWN_PEOPLE = 12;

/** One of each kind, whatever the dice gave the others. */
const odd = (at) => [
  { id: 'oddphone0001', username: 'odd_phone', primaryPhone: '0200000017' },
  { id: 'oddsocial001', username: 'odd_social', identities: { wechat: { userId: 'wechat-of-odd', details: { name: 'odd' } } } },
  { id: 'oddtaken0001', username: 'odd_taken_1', primaryEmail: 'taken.1@example.test' },
  { id: 'oddtaken0002', username: 'odd_taken_2', primaryEmail: 'taken.2@example.test' },
  { id: 'oddfactor001', username: 'odd_factor', primaryEmail: 'odd.factor@example.test', mfaVerifications: [{ id: 'mfa-odd', createdAt: at, type: 'Totp' }] },
  {
    id: 'oddcompany01', username: 'odd_company', primaryEmail: 'odd.company@example.test',
    ssoIdentities: [{ id: 'sso-odd', issuer: 'https://idp.example.test', identityId: 'employee-odd', detail: {}, createdAt: at, updatedAt: at, ssoConnectorId: 'connector-1' }],
  },
  { id: 'oddsuspend01', username: 'odd_suspended', primaryEmail: 'odd.suspended@example.test', isSuspended: true },
  { id: 'oddnobody001' },
].map((row) => ({ createdAt: at, updatedAt: at, customData: {}, ...row }));
export const TAKEN = ['oddtaken0001', 'oddtaken0002'];

/** Points that no import can carry as they are. */
const GARBAGE = [
  ['garbageghost', 10, 'bronze', 10],
  ['oddphone0001', 50, 'wooden', 50],
];

export async function populate(scene, { nUsers, seed }) {
  const { sandbox, logto } = scene;
  const now = Date.now();
  // The probe of the checklist and one of each kind are among them.
  const rows = [...people({ count: Math.max(1, nUsers - odd(now).length - 1), seed })];
  for (const chunk of rows) {
    // Nobody of them was here lately: who is signed in are the drill's own people.
    for (const row of chunk) if (row.lastSignInAt !== undefined) row.lastSignInAt = Math.min(row.lastSignInAt, now - 60 * DAY_MS);
    await logto.call('POST', '/users/rows', chunk);
  }
  await logto.call('POST', '/users/rows', [...odd(now - 90 * DAY_MS), { id: scene.probe.PROBE_USER, username: 'dwp_probe', name: 'Probe', primaryEmail: scene.probe.PROBE_EMAIL, createdAt: now - DAY_MS }]);
  const ids = [...scene.users.values()].map(({ id }) => id);
  scene.points = await fillRewards(sandbox.databases.rewards, ids.filter((id) => !id.startsWith('odd')), { seed });
  const { rewards } = sandbox.databases;
  await rewards.batch(GARBAGE.flatMap(([id, total, tier, points], nth) => [
    rewards.prepare('INSERT INTO rewards_users (user_id, total_points, lifetime_earned, tier, updated_at) VALUES (?1, ?2, ?2, ?3, 1700000000)').bind(id, total, tier),
    rewards.prepare("INSERT INTO rewards_ledger (id, user_id, event_type, points, created_at) VALUES (?1, ?2, 'purchase', ?3, 1700000000)").bind(`garbage-${nth}`, id, points),
  ]));
  scene.ownPeople = [];
  const own = async (body) => {
    const made = await scene.mgpassApi('POST', '/users', { password: 'Only-At-Mgpass-1', ...body });
    scene.ownPeople.push((made.data ?? made.user ?? made).id);
  };
  for (let n = 0; n < OWN_PEOPLE; n += 1) await own({ email: `own.${n}@mgpass.example`, name: `Own ${n}` });
  for (const n of [1, 2]) await own({ email: `taken.${n}@example.test`, name: `In the way ${n}` });
  // The sandbox's own accounts have numbers that people of some seeds have as well.
  await sandbox.databases.mgpass.prepare('UPDATE users SET phone = NULL').run();
}

/** Their owner has them taken out of the source, or mended there. */
export async function mendPoints(scene) {
  const { rewards } = scene.sandbox.databases;
  await rewards.batch([
    rewards.prepare("DELETE FROM rewards_users WHERE user_id = 'garbageghost'"),
    rewards.prepare("DELETE FROM rewards_ledger WHERE user_id = 'garbageghost'"),
    rewards.prepare("UPDATE rewards_users SET tier = 'bronze' WHERE user_id = 'oddphone0001'"),
  ]);
}

/** Who stands in the way of one of the two gives the address free. */
export async function mendTaken(scene, nth) {
  await scene.sandbox.databases.mgpass.prepare('UPDATE users SET email = NULL WHERE email = ?1').bind(`taken.${nth}@example.test`).run();
  await scene.dwp(['replay', '--user', TAKEN[nth - 1]]);
}
