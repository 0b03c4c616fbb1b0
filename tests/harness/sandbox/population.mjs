// People as a table of years holds them, the same for the same seed: gaps, odd values,
// second factors, sign-in by a company. And their points at the source, with totals that
// have drifted from their ledgers, as happens.
//
//   for (const rows of people({ count, seed })) await logto.call('POST', '/users/rows', rows);
//   await fillRewards(database, ids, { seed });

const CHUNK = 500;
const DAY_MS = 86_400_000;
// Three years back from a fixed day: the same rows in each run.
const FIRST_MS = Date.UTC(2023, 10, 1);
const SPAN_MS = 3 * 365 * DAY_MS;

const NAMES = [
  'Anna Schmidt', 'Łukasz Żółć', 'José Ángel Núñez', '山田 太郎', 'Мария Иванова', 'Zoë 🦊 Fox', "O'Neill", 'Þóra Björk', 'محمد علي', 'Ngô Bảo',
  'Ama Owusu-Ansah', 'ಅನನ್ಯ', '김민준', 'Ελένη', '👩‍👩‍👧 Family', 'e\u0301 combining', 'null', '  spaces  ', 'Robert"); DROP TABLE users;--', '\u202Ertl',
];
const WORDS = ['press', 'free', 'pro', 'gold', 'Ghana', 'läuft', '数', '🦊', '', 'null', '0', 'true'];

/** mulberry32: small, seeded, good enough for shares. */
export function random(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  return Object.assign(next, {
    chance: (share) => next() < share,
    below: (n) => Math.floor(next() * n),
    of: (list) => list[Math.floor(next() * list.length)],
  });
}

function customData(dice) {
  if (dice.chance(0.4)) return {};
  const data = { plan: dice.of(WORDS), 10: 'ten', 9: dice.below(1_000_000), nested: { zz: [1, { b: null, a: Math.round(dice() * 1e6) / 1e6 }], a: dice.of(WORDS) } };
  if (dice.chance(0.1)) data[dice.of(WORDS)] = -0.5e-7;
  if (dice.chance(0.002)) data.history = Array.from({ length: 200 }, (_, i) => ({ at: i, what: dice.of(WORDS).repeat(10) }));
  if (dice.chance(0.0002)) data.huge = 'ä🦊'.repeat(30_000);
  return data;
}

const social = (dice, target, tag, name) => ({
  userId: `${target}-${tag}`,
  ...(dice.chance(0.9) && { details: { id: `${target}-${tag}`, name, rawData: { locale: 'de', picture: null } } }),
});

function identities(dice, tag, name) {
  const found = {};
  if (dice.chance(0.2)) found.google = social(dice, 'google', tag, name);
  if (dice.chance(0.05)) found.apple = social(dice, 'apple', tag, name);
  if (dice.chance(0.04)) found.facebook = social(dice, 'facebook', tag, name);
  if (dice.chance(0.005)) found.wechat = social(dice, 'wechat', tag, name);
  if (dice.chance(0.003)) found.github = social(dice, 'github', tag, name);
  return found;
}

function mfa(dice, tag, at) {
  const factors = [{ id: `mfa-${tag}`, createdAt: at, type: dice.of(['Totp', 'Totp', 'WebAuthn']) }];
  if (factors[0].type === 'WebAuthn') Object.assign(factors[0], { agent: 'Firefox on Linux', name: 'key' });
  if (dice.chance(0.5)) factors.push({ id: `codes-${tag}`, createdAt: at, type: 'BackupCode', remainCodes: dice.below(11) });
  return factors;
}

const company = (tag, at) => ({
  id: `sso-${tag}`, issuer: 'https://idp.example.test', identityId: `employee-${tag}`, detail: { email: `${tag}@corp.example.test` }, createdAt: at, updatedAt: at, ssoConnectorId: 'connector-1',
});

/** One row for UserStore.create. */
export function person(dice, seed, i, createdAt) {
  const tag = `${seed}x${i}`;
  const name = `${dice.of(NAMES)} ${i}`;
  const row = { id: `p${seed.toString(36)}${i.toString(36).padStart(9, '0')}`, createdAt, updatedAt: createdAt + dice.below(DAY_MS) };
  if (dice.chance(0.55)) row.username = `u_${tag}`;
  if (dice.chance(0.8)) row.primaryEmail = `${dice.chance(0.1) ? 'Mixed.Case+' : ''}${tag}@${dice.chance(0.02) ? 'exämple' : 'example'}.test`;
  if (dice.chance(0.25)) row.primaryPhone = `233${String(200_000_000 + i)}`;
  // National form, an extension, too long: what forms let in before somebody checked.
  else if (dice.chance(0.006)) row.primaryPhone = dice.of([`0${200_000_000 + i}`, `1415${i}x12`, `49${'1'.repeat(16)}${i}`]);
  if (dice.chance(0.7)) row.name = name;
  else if (dice.chance(0.01)) row.name = '';
  if (dice.chance(0.3)) row.avatar = `https://cdn.example.test/${tag}.png`;
  row.customData = customData(dice);
  row.identities = identities(dice, tag, name);
  if (dice.chance(0.3)) row.profile = { locale: 'en', givenName: name.split(' ')[0], familyName: 'Example', ...(dice.chance(0.3) && { address: { country: 'GH', locality: 'Köln' } }) };
  if (dice.chance(0.01)) row.isSuspended = true;
  if (dice.chance(0.75)) row.lastSignInAt = createdAt + dice.below(300 * DAY_MS);
  // Unsalted SHA-256 of "password", so that nothing slow runs a hundred thousand times.
  if (dice.chance(0.75)) row.password = { digest: '5e884898da28047151d0e56f8dc6292773603d0d6aabbd2ae85bd2cba4c6e0ee', algorithm: 'SHA256' };
  if (dice.chance(0.03)) row.mfaVerifications = mfa(dice, tag, createdAt);
  if (dice.chance(0.008)) row.ssoIdentities = [company(tag, createdAt)];
  return row;
}

/** Chunks of rows, oldest first. Some share a millisecond, as after a bulk import. */
export function* people({ count, seed = 1 }) {
  const dice = random(seed);
  let createdAt = FIRST_MS;
  let rows = [];
  for (let i = 0; i < count; i += 1) {
    if (!dice.chance(0.05)) createdAt += Math.floor((SPAN_MS / count) * 2 * dice());
    rows.push(person(dice, seed, i, createdAt));
    if (rows.length === CHUNK || i === count - 1) {
      yield rows;
      rows = [];
    }
  }
}

const TIERS = [[0, 'bronze'], [2_500, 'silver'], [10_000, 'gold'], [25_000, 'platinum']];

function points(dice, id, i) {
  const n = dice.chance(0.1) ? 0 : 1 + dice.below(6);
  const entries = Array.from({ length: n }, (_, k) => {
    const isDebit = dice.chance(0.2);
    return {
      id: `e${i}-${k}`,
      user_id: id,
      event_type: isDebit ? 'redemption' : dice.of(['purchase', 'check_in', 'referral', 'läuft 🦊']),
      platform: dice.of(['ios', 'android', 'web', null]),
      points: isDebit ? -dice.below(200) : dice.below(dice.chance(0.1) ? 12_000 : 1_500),
      rule_version: dice.of(['v1', 'v2', null]),
      // The same order may be booked twice.
      reference_id: dice.chance(0.7) ? `order-${i}-${dice.below(2)}` : null,
      metadata: dice.chance(0.5) ? JSON.stringify({ shop: dice.of(WORDS), note: dice.chance(0.001) ? 'ä'.repeat(20_000) : '' }) : null,
      status: dice.chance(0.9) ? 'posted' : dice.of(['expired', 'voided']),
      created_at: Math.floor(FIRST_MS / 1_000) + i * 10 + k,
    };
  });
  const posted = entries.filter(({ status }) => status === 'posted');
  const sum = posted.reduce((total, entry) => total + entry.points, 0);
  const earned = entries.reduce((total, entry) => total + Math.max(0, entry.points), 0);
  const total = dice.chance(0.1) ? Math.max(0, sum + dice.below(400) - 200) : sum;
  const tier = dice.chance(0.05) ? dice.of(TIERS)[1] : TIERS.findLast(([threshold]) => earned >= threshold)[1];
  return { record: { user_id: id, total_points: total, lifetime_earned: earned, tier, updated_at: Math.floor(FIRST_MS / 1_000) + i }, entries };
}

const INSERT_USERS = `INSERT INTO rewards_users (user_id, total_points, lifetime_earned, tier, updated_at)
  SELECT value ->> 'user_id', value ->> 'total_points', value ->> 'lifetime_earned', value ->> 'tier', value ->> 'updated_at' FROM json_each(?1)`;
const INSERT_ENTRIES = `INSERT INTO rewards_ledger (id, user_id, event_type, platform, points, rule_version, reference_id, metadata, status, created_at)
  SELECT value ->> 'id', value ->> 'user_id', value ->> 'event_type', value ->> 'platform', value ->> 'points', value ->> 'rule_version',
    value ->> 'reference_id', value ->> 'metadata', value ->> 'status', value ->> 'created_at' FROM json_each(?1)`;

/** Points of these people in the source (`schema/rewards`), for the given share of them. */
export async function fillRewards(database, ids, { seed = 1, share = 0.7 } = {}) {
  const dice = random(seed + 1);
  let n = { users: 0, entries: 0 };
  for (let from = 0; from < ids.length; from += CHUNK) {
    const found = ids.slice(from, from + CHUNK).flatMap((id, k) => (dice.chance(share) ? [points(dice, id, from + k)] : []));
    if (found.length === 0) continue;
    const entries = found.flatMap((one) => one.entries);
    await database.batch([
      database.prepare(INSERT_USERS).bind(JSON.stringify(found.map(({ record }) => record))),
      database.prepare(INSERT_ENTRIES).bind(JSON.stringify(entries)),
    ]);
    n = { users: n.users + found.length, entries: n.entries + entries.length };
  }
  return n;
}
