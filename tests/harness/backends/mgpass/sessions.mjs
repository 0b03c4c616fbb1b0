// Sessions and what hangs on them. ASSUMPTION, all of it: one session per
// application in one browser, as the documented list shows a client for each;
// the browser's own state (cookie mgpass_session) is a row beside them.

import { auditEntry, userParty } from './audit.mjs';
import { newId, newSecret, sha256 } from './crypto.mjs';
import { readCookie } from './http.mjs';

const COOKIE = 'mgpass_session';
// Sliding: every use moves the end.
const SESSION_SECONDS = 30 * 24 * 3600;

// The signed-in person of this browser, or undefined: a suspended or deleted one is not signed in.
export async function readBrowserSession(context) {
  const cookie = readCookie(context.request, COOKIE);
  if (!cookie) return undefined;
  const idHash = await sha256(cookie);
  const row = await context.db
    .prepare(
      `SELECT users.* FROM browser_sessions JOIN users ON users.id = browser_sessions.user_id
       WHERE id_hash = ? AND ended_at IS NULL AND expires_at > unixepoch()
         AND users.deleted_at IS NULL AND users.is_suspended = 0`,
    )
    .bind(idHash)
    .first();
  if (row === null) return undefined;
  await context.db
    .prepare('UPDATE browser_sessions SET expires_at = unixepoch() + ? WHERE id_hash = ?')
    .bind(SESSION_SECONDS, idHash)
    .run();
  return { idHash, user: row };
}

// Signs the browser in. `remember` off makes the cookie end with the browser.
export async function startBrowserSession(context, user, { clientId, remember }) {
  const cookie = newSecret();
  const idHash = await sha256(cookie);
  await context.db.batch([
    context.db
      .prepare(
        `INSERT INTO browser_sessions (id_hash, user_id, created_at, expires_at)
         VALUES (?, ?, unixepoch(), unixepoch() + ?)`,
      )
      .bind(idHash, user.id, SESSION_SECONDS),
    context.db.prepare('UPDATE users SET last_sign_in_at = unixepoch() WHERE id = ?').bind(user.id),
    auditEntry(context, 'user.login.success', {
      actor: userParty(user),
      target: userParty(user),
      clientId,
      metadata: { method: 'password' },
    }),
  ]);
  return { browser: { idHash, user }, header: cookieHeader(context, cookie, remember ? SESSION_SECONDS : undefined) };
}

export async function endBrowserSession(context) {
  const cookie = readCookie(context.request, COOKIE);
  if (!cookie) return undefined;
  const idHash = await sha256(cookie);
  await context.db
    .prepare('UPDATE browser_sessions SET ended_at = unixepoch() WHERE id_hash = ? AND ended_at IS NULL')
    .bind(idHash)
    .run();
  return idHash;
}

export function clearedCookie(context) {
  return cookieHeader(context, '', 0);
}

// The application's session in this browser, made when there is none. Without a
// browser (the control routes) always a new one.
export async function openSession(context, user, clientId, browserHash = null) {
  const existing =
    browserHash === null
      ? null
      : await context.db
          .prepare(
            `UPDATE sessions SET last_active_at = unixepoch(), expires_at = unixepoch() + ?
             WHERE browser_hash = ? AND client_id = ? AND user_id = ? AND revoked_at IS NULL RETURNING id`,
          )
          .bind(SESSION_SECONDS, browserHash, clientId, user.id)
          .first();
  if (existing !== null) return existing.id;
  const id = newId('sess');
  await context.db.batch([
    context.db
      .prepare(
        `INSERT INTO sessions
           (id, user_id, client_id, browser_hash, ip_address, user_agent, created_at, last_active_at, expires_at)
         VALUES (?, ?, ?, ?, ?, ?, unixepoch(), unixepoch(), unixepoch() + ?)`,
      )
      .bind(id, user.id, clientId, browserHash, context.ip, context.userAgent, SESSION_SECONDS),
    auditEntry(context, 'session.created', {
      actor: userParty(user),
      target: userParty(user),
      clientId,
      metadata: { session_id: id },
    }),
  ]);
  return id;
}

// Statements that move the end of a session and of its browser's, as a refresh does.
export function extendSession(db, sessionId) {
  return [
    db
      .prepare('UPDATE sessions SET last_active_at = unixepoch(), expires_at = unixepoch() + ? WHERE id = ?')
      .bind(SESSION_SECONDS, sessionId),
    db
      .prepare(
        `UPDATE browser_sessions SET expires_at = unixepoch() + ?
         WHERE id_hash = (SELECT browser_hash FROM sessions WHERE id = ?)`,
      )
      .bind(SESSION_SECONDS, sessionId),
  ];
}

export async function listSessions(db, userId) {
  const { results } = await db
    .prepare(
      `SELECT sessions.*, applications.name AS client_name, applications.logo_url AS client_logo_url
       FROM sessions LEFT JOIN applications ON applications.id = sessions.client_id
       WHERE user_id = ? AND revoked_at IS NULL AND expires_at > unixepoch()
       ORDER BY sessions.created_at DESC, sessions.rowid DESC`,
    )
    .bind(userId)
    .all();
  return results;
}

// Ends every session, browser and refresh token of a person; the statements in
// `also` go in the same batch. Returns how many of each were live.
export async function revokeEverything(db, userId, also = []) {
  const [sessions, refreshTokens] = await db.batch([
    db.prepare('UPDATE sessions SET revoked_at = unixepoch() WHERE user_id = ? AND revoked_at IS NULL').bind(userId),
    // A retired token is not live: it was already exchanged for its successor.
    db
      .prepare(
        `UPDATE refresh_tokens SET revoked_at = unixepoch()
         WHERE user_id = ? AND revoked_at IS NULL AND retired_at_ms IS NULL`,
      )
      .bind(userId),
    db.prepare('UPDATE browser_sessions SET ended_at = unixepoch() WHERE user_id = ? AND ended_at IS NULL').bind(userId),
    ...also,
  ]);
  return { sessions: sessions.meta.changes, refreshTokens: refreshTokens.meta.changes };
}

function cookieHeader(context, value, maxAge) {
  const parts = [`${COOKIE}=${value}`, 'Path=/', 'HttpOnly', 'SameSite=Lax'];
  // Plain HTTP is only ever a laptop; there a Secure cookie would not come back.
  if (context.env.ISSUER.startsWith('https:')) parts.push('Secure');
  if (maxAge !== undefined) parts.push(`Max-Age=${maxAge}`);
  return parts.join('; ');
}
