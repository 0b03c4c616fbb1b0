// The rewards database that the sandbox's points come from: a few people with the
// balances that real ones have. Their ids are those of users at the Logto stand-in
// (people), but for one whom nobody knows.

export const people = [
  { id: 'rewardsama01', username: 'ama_rewards', name: 'Ama Rewards', primaryEmail: 'ama.rewards@example.test' },
  { id: 'rewardskofi1', username: 'kofi_rewards', name: 'Kofi Rewards', primaryPhone: '233200000101' },
  { id: 'rewardsefua1', username: 'efua_rewards' },
  { id: 'rewardsyaw01', username: 'yaw_rewards', primaryEmail: 'yaw.rewards@example.test' },
];

const DAY = 86_400;
const BEGAN = 1_767_225_600; // 2026-01-01T00:00:00Z

// [user, total_points, lifetime_earned, tier, entries as [event_type, points, status?, more?]]
const accounts = [
  // The ledger explains the balance.
  ['rewardsama01', 1_840, 3_120, 'silver', [
    ['purchase', 2_600, 'posted', { reference_id: 'order-5512', metadata: { amount: 2_600, currency: 'GHS' } }],
    ['purchase', 520, 'posted', { reference_id: 'order-5790', metadata: { amount: 520 } }],
    ['cashback_redeem', -1_280, 'posted', { platform: null, reference_id: 'rdm_77', rule_version: null }],
  ]],
  // Expired and voided entries: the stored balance is right, the ledger's sum is not.
  ['rewardskofi1', 300, 900, 'bronze', [
    ['survey', 400, 'expired', { metadata: { survey: 'été' } }],
    ['purchase', 300, 'posted', { reference_id: 'order-6001' }],
    ['purchase', 200, 'voided', { reference_id: 'order-6001' }],
  ]],
  // Earned gold when it was cheaper: above the thresholds in force.
  ['rewardsefua1', 7_500, 7_500, 'gold', [['migration', 7_500, 'posted', { platform: null }]]],
  // A balance from before there was a ledger.
  ['rewardsyaw01', 50, 50, 'bronze', []],
  // Nobody knows this one.
  ['rewardsghost', 10, 10, 'bronze', [['purchase', 10]]],
];

// Whoever is there already stays as they are.
export async function seedRewards(db) {
  const statements = accounts.flatMap(([userId, total, lifetime, tier, entries]) => [
    db
      .prepare('INSERT OR IGNORE INTO rewards_users (user_id, total_points, lifetime_earned, tier, updated_at) VALUES (?, ?, ?, ?, ?)')
      .bind(userId, total, lifetime, tier, BEGAN),
    ...entries.map(([eventType, points, status = 'posted', more = {}], nth) => {
      const entry = { platform: 'newsroom', rule_version: 'v3', reference_id: null, metadata: null, ...more };
      return db
        .prepare(
          `INSERT OR IGNORE INTO rewards_ledger (id, user_id, event_type, platform, points, rule_version, reference_id, metadata, status, created_at)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        )
        .bind(
          `rwl_${userId}_${nth}`, userId, eventType, entry.platform, points, entry.rule_version, entry.reference_id,
          entry.metadata && JSON.stringify(entry.metadata), status, BEGAN + nth * 30 * DAY,
        );
    }),
  ]);
  await db.batch(statements);
}
