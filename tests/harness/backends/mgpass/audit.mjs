// Audit entries and the two ways to read them. Newest first; entries of the same
// second in the order in which they were written.

import { newId } from './crypto.mjs';
import { json, readLimit } from './http.mjs';

const COLUMNS = `id, event_type, actor_type, actor_id, actor_name, target_type, target_id, target_name,
  client_id, ip_address, user_agent, metadata, created_at`;
const READ = `${COLUMNS}, (SELECT email FROM users WHERE users.id = actor_id) AS actor_email`;

const SIGN_IN_EVENTS = ['session.created', 'user.login.success', 'user.login.failed', 'user.sign_out'];

// A statement, so that the entry goes in the same batch as what it tells of.
// `actor` and `target` are { type, id, name }; an actor's name is looked up when
// it is not given, so that a mere read need not know it.
export function auditEntry(context, eventType, { actor, target, clientId, metadata }) {
  return context.db
    .prepare(
      `INSERT INTO audit_logs (${COLUMNS}) VALUES (?1, ?2, ?3, ?4,
         coalesce(?5, (SELECT name FROM users WHERE id = ?4), (SELECT name FROM applications WHERE id = ?4)),
         ?6, ?7, ?8, ?9, ?10, ?11, ?12, unixepoch())`,
    )
    .bind(
      newId('aud'),
      eventType,
      actor?.type ?? null,
      actor?.id ?? null,
      actor?.name ?? null,
      target?.type ?? null,
      target?.id ?? null,
      target?.name ?? null,
      clientId ?? null,
      context.ip,
      context.userAgent,
      metadata === undefined ? null : JSON.stringify(metadata),
    );
}

export function userParty(user) {
  return { type: 'user', id: user.id, name: user.name };
}

export async function listAudit(context) {
  const query = context.url.searchParams;
  const { edition } = context;
  const limit = readLimit(query, edition.audit.limit, 100);
  const page = Math.max(Number.parseInt(query.get('page') ?? '1', 10) || 1, 1);
  const filters = [
    ['event_type', 'event_type = ?'],
    [edition.audit.actor, 'actor_id = ?'],
    ['target_id', 'target_id = ?'],
    ['from', 'created_at >= CAST(? AS INTEGER)'],
    ['to', 'created_at <= CAST(? AS INTEGER)'],
  ].filter(([name]) => query.has(name));
  const where = filters.length === 0 ? '' : `WHERE ${filters.map(([, condition]) => condition).join(' AND ')}`;
  const values = filters.map(([name]) => query.get(name));
  const [list, count] = await context.db.batch([
    context.db
      .prepare(`SELECT ${READ} FROM audit_logs ${where} ORDER BY created_at DESC, rowid DESC LIMIT ? OFFSET ?`)
      .bind(...values, limit, (page - 1) * limit),
    context.db.prepare(`SELECT count(*) AS total FROM audit_logs ${where}`).bind(...values),
  ]);
  return json(edition.auditList({ rows: list.results, total: count.results[0].total, page }));
}

export async function listLoginHistory(context, { id }) {
  const { results } = await context.db
    .prepare(
      `SELECT ${READ} FROM audit_logs
       WHERE (target_id = ?1 OR actor_id = ?1) AND event_type IN (${SIGN_IN_EVENTS.map(() => '?').join(', ')})
       ORDER BY created_at DESC, rowid DESC LIMIT ?`,
    )
    .bind(id, ...SIGN_IN_EVENTS, readLimit(context.url.searchParams, 20, 50))
    .all();
  return json(results.map(context.edition.signIn));
}
