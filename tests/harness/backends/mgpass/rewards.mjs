// Balances, ledger, credit and reconcile. Where the documents are silent the
// decision is labelled ASSUMPTION. The ledger is append-only to the API; what it
// sums up to is the balance, whatever the balance was.

import { auditEntry, userParty } from './audit.mjs';
import { findUser } from './bearer.mjs';
import { newId } from './crypto.mjs';
import { ApiError, invalidRequest, json, readJson, readLimit } from './http.mjs';

const ENTRY = 'id, user_id, event_type, platform, points, rule_version, reference_id, metadata, created_at';
const SEARCHED = `points_ledger.id, user_id, event_type, platform, points, rule_version, reference_id, points_ledger.metadata,
  points_ledger.created_at, users.name, users.email`;
const SUM = '(SELECT coalesce(sum(points), 0) FROM points_ledger WHERE user_id = ?1)';
const NEWEST_FIRST = 'ORDER BY points_ledger.created_at DESC, points_ledger.rowid DESC';

export async function readBalance({ db, edition, user }) {
  const [balance, tiers] = await db.batch([
    db.prepare('SELECT * FROM user_rewards WHERE user_id = ?').bind(user.id),
    db.prepare('SELECT * FROM reward_tiers ORDER BY min_points'),
  ]);
  const row = balance.results[0] ?? { total_points: 0, lifetime_earned: 0, tier: tiers.results[0].name };
  const place = tiers.results.findIndex(({ name }) => name === row.tier);
  return json(edition.balance({ row, tier: tiers.results[place], next: tiers.results[place + 1] }));
}

// ASSUMPTION (E3): the cursor is the id of the last entry received.
export async function readHistory({ db, edition, url, user }) {
  const query = url.searchParams;
  const { limit, maximum, isByCursor } = edition.history;
  const size = readLimit(query, limit, maximum);
  const page = readPage(query);
  const cursor = isByCursor ? query.get('cursor') : null;
  const after = cursor === null ? '' : 'AND (created_at, rowid) < (SELECT created_at, rowid FROM points_ledger WHERE id = ?2)';
  const [list, count] = await db.batch([
    db
      .prepare(`SELECT ${ENTRY} FROM points_ledger WHERE user_id = ?1 ${after} ${NEWEST_FIRST} LIMIT ${size} OFFSET ${isByCursor ? 0 : (page - 1) * size}`)
      .bind(user.id, ...(cursor === null ? [] : [cursor])),
    db.prepare('SELECT count(*) AS total FROM points_ledger WHERE user_id = ?').bind(user.id),
  ]);
  return json(edition.ledgerList({ entries: list.results.map(edition.ledgerEntry), total: count.results[0].total, page }));
}

export async function searchLedger({ db, edition, url }) {
  const query = url.searchParams;
  const { where, values } = filters(query);
  const limit = readLimit(query, 20, 100);
  const page = readPage(query);
  const from = `FROM points_ledger LEFT JOIN users ON users.id = user_id ${where}`;
  const [list, count] = await db.batch([
    db.prepare(`SELECT ${SEARCHED} ${from} ${NEWEST_FIRST} LIMIT ? OFFSET ?`).bind(...values, limit, (page - 1) * limit),
    db.prepare(`SELECT count(*) AS total ${from}`).bind(...values),
  ]);
  const entries = list.results.map(({ name, email, ...entry }) => ({ ...edition.ledgerEntry(entry), name, email }));
  return json(edition.ledgerList({ entries, total: count.results[0].total, page }));
}

// ASSUMPTION: User is the name, Date ISO 8601.
export async function exportLedger({ db, url }) {
  const { where, values } = filters(url.searchParams);
  const { results } = await db
    .prepare(`SELECT ${SEARCHED} FROM points_ledger LEFT JOIN users ON users.id = user_id ${where} ${NEWEST_FIRST}`)
    .bind(...values)
    .all();
  const lines = results.map((row) => [
    row.id, row.name, row.email, row.event_type, row.platform, row.points, new Date(row.created_at * 1000).toISOString(),
  ]);
  const csv = [['ID', 'User', 'Email', 'Event', 'Platform', 'Points', 'Date'], ...lines].map((line) => line.map(csvField).join(','));
  return new Response(`${csv.join('\r\n')}\r\n`, {
    headers: { 'content-type': 'text/csv; charset=utf-8', 'content-disposition': 'attachment; filename="ledger-export.csv"' },
  });
}

// Straight to the ledger, no rule asked. ASSUMPTION: who is unknown or deleted is
// 404 user_not_found; the audit entry is balance.credited.
export async function creditPoints(context) {
  const credit = context.edition.credit(await readJson(context.request));
  if (credit === undefined) throw invalidRequest('user_id, points and what this edition wants besides are required');
  const user = await findUser(context.db, credit.userId);
  if (user === null) throw unknownUser();
  const { clientId, ...actor } = context.admin;
  const id = await credits(context.db, [credit], [
    auditEntry(context, 'balance.credited', { actor, target: userParty(user), clientId, metadata: { points: credit.points } }),
  ]);
  const entry = await context.db.prepare(`SELECT ${ENTRY} FROM points_ledger WHERE id = ?`).bind(id).first();
  return json(context.edition.ledgerEntry(entry), context.edition.creditStatus);
}

// ASSUMPTION: what is credited also counts as earned, what is debited does not
// lower it. Promotion runs after every credit; nobody is ever demoted.
export async function credits(db, list, also = []) {
  let last;
  const statements = list.flatMap(({ userId, points, eventType = 'admin_credit', platform = null, referenceId = null, metadata = null }) => {
    last = newId('pts');
    const text = metadata === null ? null : JSON.stringify(metadata);
    return [
      db
        .prepare(`INSERT INTO points_ledger (${ENTRY}) VALUES (?, ?, ?, ?, ?, NULL, ?, ?, unixepoch())`)
        .bind(last, userId, eventType, platform, points, referenceId, text),
      db
        .prepare(
          `INSERT INTO user_rewards (user_id, total_points, lifetime_earned, tier, updated_at)
           VALUES (?1, ?2, max(?2, 0), (SELECT name FROM reward_tiers ORDER BY min_points LIMIT 1), unixepoch())
           ON CONFLICT (user_id) DO UPDATE SET total_points = total_points + ?2, lifetime_earned = lifetime_earned + max(?2, 0), updated_at = unixepoch()`,
        )
        .bind(userId, points),
      db
        .prepare(
          `UPDATE user_rewards SET tier = (SELECT name FROM reward_tiers WHERE min_points <= lifetime_earned ORDER BY min_points DESC LIMIT 1)
           WHERE user_id = ? AND (SELECT min_points FROM reward_tiers WHERE name = tier)
             < (SELECT max(min_points) FROM reward_tiers WHERE min_points <= lifetime_earned)`,
        )
        .bind(userId),
    ];
  });
  await db.batch([...statements, ...also]);
  return last;
}

// Makes the balance what the ledger says, and never touches the ledger.
export async function reconcile(context, { userId }) {
  const user = await findUser(context.db, userId);
  if (user === null) throw unknownUser();
  const [before] = await context.db.batch([
    context.db
      .prepare(`SELECT coalesce((SELECT total_points FROM user_rewards WHERE user_id = ?1), 0) AS cached, ${SUM} AS calculated`)
      .bind(userId),
    context.db.prepare(`UPDATE user_rewards SET total_points = ${SUM}, updated_at = unixepoch() WHERE user_id = ?1 AND total_points <> ${SUM}`).bind(userId),
  ]);
  const { cached, calculated } = before.results[0];
  const drift = cached - calculated;
  if (drift !== 0) {
    const { clientId, ...actor } = context.admin;
    const metadata = { cached, calculated, drift };
    await auditEntry(context, 'balance.reconciled', { actor, target: userParty(user), clientId, metadata }).run();
  }
  return json({ cached, calculated, drift, fixed: drift !== 0 });
}

// `user_email` is exact, is ignored beside `user_id`, and an unknown one finds nothing.
function filters(query) {
  const conditions = [
    ['user_id', 'user_id = ?'],
    ['user_email', 'user_id = (SELECT id FROM users WHERE email = ?)'],
    ['platform', 'platform = ?'],
    ['event_type', 'event_type = ?'],
    ['from', 'points_ledger.created_at >= CAST(? AS INTEGER)'],
    ['to', 'points_ledger.created_at <= CAST(? AS INTEGER)'],
  ].filter(([name]) => query.has(name) && !(name === 'user_email' && query.has('user_id')));
  return {
    where: conditions.length === 0 ? '' : `WHERE ${conditions.map(([, condition]) => condition).join(' AND ')}`,
    values: conditions.map(([name]) => query.get(name)),
  };
}

function readPage(query) {
  return Math.max(Number.parseInt(query.get('page') ?? '1', 10) || 1, 1);
}

function unknownUser() {
  return new ApiError(404, 'user_not_found', 'User not found');
}

function csvField(value) {
  const text = value === null ? '' : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
