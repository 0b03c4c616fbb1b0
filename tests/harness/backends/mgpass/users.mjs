// The admin's user routes. Where the documents are silent (unknown users,
// repeats, deleted users, uniqueness) the decision is labelled ASSUMPTION.

import { auditEntry, userParty } from './audit.mjs';
import { forgetUser, readThrough } from './cache.mjs';
import { hashPassword, newId } from './crypto.mjs';
import { invalidRequest, json, readJson, readLimit } from './http.mjs';
import { takeFromLimit } from './limits.mjs';
import { listSessions, revokeEverything } from './sessions.mjs';
import { getSettings } from './settings.mjs';

const MAX_REASON = 500;
// The documents say that last_sign_in_at falls back to the newest session.
const USER = `users.*, (SELECT max(created_at) FROM sessions WHERE sessions.user_id = users.id) AS newest_session_at`;

// ASSUMPTION: newest first; `q` is found anywhere in email, name or phone, or is
// the id; the cursor is the id of the last user received; at most 100 at a time.
export async function listUsers(context) {
  const query = context.url.searchParams;
  const { edition } = context;
  const limit = readLimit(query, edition.listLimit, 100);
  const asked = Math.max(Number.parseInt(query.get('page') ?? '1', 10) || 1, 1);
  const offset = edition.isListByCursor ? 0 : (asked - 1) * limit;
  const filters = ['deleted_at IS NULL'];
  const values = [];
  if (query.get('q')) {
    filters.push("(id = ?1 OR instr(lower(coalesce(email, '') || ' ' || coalesce(name, '') || ' ' || coalesce(phone, '')), lower(?1)))");
    values.push(query.get('q'));
  }
  const where = filters.join(' AND ');
  const cursor = edition.isListByCursor ? query.get('cursor') : null;
  const after = `(created_at, id) < (SELECT created_at, id FROM users WHERE id = ?${values.length + 1})`;
  const place = cursor === null ? [] : [after];
  const [list, count, before] = await context.db.batch([
    context.db
      .prepare(`SELECT ${USER} FROM users WHERE ${[where, ...place].join(' AND ')} ORDER BY created_at DESC, id DESC LIMIT ${limit + 1} OFFSET ${offset}`)
      .bind(...values, ...(cursor === null ? [] : [cursor])),
    context.db.prepare(`SELECT count(*) AS n FROM users WHERE ${where}`).bind(...values),
    context.db
      .prepare(`SELECT count(*) AS n FROM users WHERE ${where} AND (${cursor === null ? '0' : `NOT ${after}`})`)
      .bind(...values, ...(cursor === null ? [] : [cursor])),
  ]);
  return json(
    edition.userList({
      rows: list.results.slice(0, limit),
      total: count.results[0].n,
      page: edition.isListByCursor ? Math.ceil(before.results[0].n / limit) + 1 : asked,
      limit,
      hasMore: list.results.length > limit,
    }),
  );
}

// ASSUMPTION: fields beyond the documented four are ignored, `id` among them; an
// admin's create grants the default roles.
export async function createUser(context) {
  const body = await readJson(context.request);
  if (!isText(body.email) || !isText(body.password)) throw invalidRequest('email and password are required');
  const { email, password, name = null, phone = null } = await checkFields(context, body);
  const user = { id: newId('usr'), name };
  await context.db.batch([
    context.db
      .prepare('INSERT INTO users (id, email, phone, name, password_hash, created_at) VALUES (?, ?, ?, ?, ?, unixepoch())')
      .bind(user.id, email, phone, name, await hashPassword(password)),
    context.db
      .prepare('INSERT INTO user_roles (user_id, role_id, created_at) SELECT ?, id, unixepoch() FROM roles WHERE is_default = 1')
      .bind(user.id),
    auditOf(context, 'user.created', user),
  ]);
  forgetUser(user.id);
  return json(context.edition.user(await readUser(context.db, user.id)), 201);
}

export async function getUser(context, { id }) {
  const maxAgeMs = getSettings(context.env).read_cache_ms;
  const body = await readThrough(`user:${id}`, maxAgeMs, async () => {
    const user = await readUser(context.db, id);
    if (user === null) return null;
    const { results } = await context.db
      .prepare('SELECT id, name FROM roles JOIN user_roles ON role_id = roles.id WHERE user_id = ? ORDER BY name')
      .bind(id)
      .all();
    return context.edition.userWithRoles(user, results);
  });
  if (body === null) throw unknownUser();
  return json(body);
}

// ASSUMPTION: null clears name and phone; a changed email or phone loses its
// verified mark unless the same request sets it; unknown fields are ignored.
export async function updateUser(context, { id }) {
  const user = await requireUserRow(context.db, id);
  const { password, ...changes } = await checkFields(context, await readJson(context.request), user);
  if (password !== undefined) changes.password_hash = await hashPassword(password);
  const names = Object.keys(changes);
  if (names.length === 0) throw invalidRequest('Nothing to update');
  for (const name of ['email', 'phone']) {
    const isChanged = name in changes && changes[name] !== user[name];
    if (isChanged && !(`${name}_verified` in changes)) changes[`${name}_verified`] = 0;
  }
  await context.db.batch([
    context.db
      .prepare(`UPDATE users SET ${Object.keys(changes).map((name) => `${name} = ?`).join(', ')} WHERE id = ?`)
      .bind(...Object.values(changes), id),
    auditOf(context, 'user.updated', user, { fields: names.map((name) => (name === 'password_hash' ? 'password' : name)) }),
  ]);
  forgetUser(id);
  return json(context.edition.user(await readUser(context.db, id)));
}

// Soft and final. ASSUMPTION: unknown or already deleted is 404; the row keeps its
// email and phone, so they stay taken. Sessions end where the edition says so.
export async function deleteUser(context, { id }) {
  const user = await requireUserRow(context.db, id);
  await context.db.batch([
    context.db.prepare('UPDATE users SET deleted_at = unixepoch() WHERE id = ?').bind(id),
    auditOf(context, 'user.deleted', user),
  ]);
  if (context.edition.endsSessions) await revokeEverything(context.db, id);
  forgetUser(id);
  return context.edition.deleted();
}

// Stops new sign-ins, and sessions where the edition says so. ASSUMPTION: an optional
// `reason` is recorded.
export async function suspendUser(context, { id }) {
  const user = await requireUserRow(context.db, id);
  const { reason } = await readJson(context.request, { optional: true });
  await context.db.batch([
    context.db
      .prepare('UPDATE users SET is_suspended = 1, suspension_reason = ? WHERE id = ?')
      .bind(readReason(reason), id),
    auditOf(context, 'user.suspended', user, isText(reason) ? { reason: readReason(reason) } : undefined),
  ]);
  if (context.edition.endsSessions) await revokeEverything(context.db, id);
  forgetUser(id);
  return context.edition.suspended(await readUser(context.db, id));
}

export async function unsuspendUser(context, { id }) {
  const user = await requireUserRow(context.db, id);
  await context.db.batch([
    context.db.prepare('UPDATE users SET is_suspended = 0, suspension_reason = NULL WHERE id = ?').bind(id),
    auditOf(context, 'user.unsuspended', user),
  ]);
  forgetUser(id);
  return context.edition.unsuspended();
}

export async function listUserSessions(context, { id }) {
  await requireUserRow(context.db, id);
  return json(context.edition.sessionList(await listSessions(context.db, id)));
}

// ASSUMPTION: also for a soft-deleted user, whose sessions a delete leaves alone.
export async function revokeAll(context, { id }) {
  takeFromLimit(`revoke-all:${context.admin.id}`, context.edition.revokeAllPerMinute);
  const user = await context.db.prepare('SELECT * FROM users WHERE id = ?').bind(id).first();
  if (user === null) throw unknownUser();
  const { reason } = await readJson(context.request, { optional: true });
  const metadata = isText(reason) ? { reason: readReason(reason) } : undefined;
  const revoked = await revokeEverything(context.db, id, [auditOf(context, 'user.sessions.revoked_all', user, metadata)]);
  return context.edition.sessionsRevoked(revoked.sessions, revoked.refreshTokens);
}

export async function listIdentities(context, { id }) {
  const maxAgeMs = getSettings(context.env).read_cache_ms;
  const body = await readThrough(`identities:${id}`, maxAgeMs, async () => {
    if ((await readUser(context.db, id)) === null) return null;
    const { results } = await context.db
      .prepare('SELECT * FROM social_identities WHERE user_id = ? ORDER BY created_at DESC, rowid DESC')
      .bind(id)
      .all();
    return context.edition.identityList(results);
  });
  if (body === null) throw unknownUser();
  return json(body);
}

export async function listRoles(context) {
  const { results } = await context.db.prepare('SELECT * FROM roles ORDER BY created_at, name').all();
  return json(context.edition.roleList(results));
}

export async function assignRole(context, { id }) {
  const user = await requireUserRow(context.db, id);
  const { role_id: roleId } = await readJson(context.request);
  const role = await context.db.prepare('SELECT * FROM roles WHERE id = ?').bind(isText(roleId) ? roleId : '').first();
  if (role === null) throw invalidRequest('Role not found', 404);
  const { meta } = await context.db
    .prepare('INSERT OR IGNORE INTO user_roles (user_id, role_id, created_at) VALUES (?, ?, unixepoch())')
    .bind(id, role.id)
    .run();
  if (meta.changes === 0) throw invalidRequest('The user already has this role', 409);
  await auditOf(context, 'role.assigned', user, { role_id: role.id, role_name: role.name }).run();
  forgetUser(id);
  return context.edition.roleAssigned();
}

export async function removeRole(context, { id, roleId }) {
  const user = await requireUserRow(context.db, id);
  const { meta } = await context.db
    .prepare('DELETE FROM user_roles WHERE user_id = ? AND role_id = ?')
    .bind(id, roleId)
    .run();
  if (meta.changes > 0) await auditOf(context, 'role.removed', user, { role_id: roleId }).run();
  forgetUser(id);
  return json({ success: true });
}

// The documented fields of a create or an update, checked. ASSUMPTION: email and
// phone are unique, email without regard to case, and both answer 400 as a taken
// email does; the password rule is that of the older editions.
async function checkFields({ db, edition }, body, current = { id: '' }) {
  const fields = {};
  if ('email' in body) {
    if (!isText(body.email) || !/^[^\s@]+@[^\s@]+$/.test(body.email)) throw invalidRequest('The email is not valid');
    fields.email = body.email;
  }
  if ('password' in body) {
    if (!isText(body.password) || body.password.length < 8) throw invalidRequest('The password needs at least 8 characters');
    fields.password = body.password;
  }
  if ('name' in body) {
    if (body.name !== null && typeof body.name !== 'string') throw invalidRequest('The name is not valid');
    fields.name = body.name;
  }
  if ('phone' in body) {
    const isPhone = body.phone === null || (isText(body.phone) && /^\+[1-9]\d{6,14}$/.test(body.phone));
    if (!isPhone) throw invalidRequest('The phone must be in E.164 form');
    fields.phone = body.phone;
  }
  if (edition.takesAvatar && current.id !== '' && 'avatar' in body) {
    if (body.avatar !== null && !URL.canParse(body.avatar)) throw invalidRequest('The avatar must be a URL');
    fields.avatar = body.avatar;
  }
  for (const name of ['email_verified', 'phone_verified']) {
    if (!(name in body) || current.id === '' || edition.takesAvatar) continue;
    if (typeof body[name] !== 'boolean') throw invalidRequest(`${name} must be true or false`);
    fields[name] = Number(body[name]);
  }
  for (const name of ['email', 'phone']) {
    if (fields[name] === undefined || fields[name] === null) continue;
    const holder = await db.prepare(`SELECT id FROM users WHERE ${name} = ? AND id <> ?`).bind(fields[name], current.id).first();
    if (holder !== null) throw invalidRequest(`The ${name} is already taken`);
  }
  return fields;
}

// ASSUMPTION: a soft-deleted user is as unknown to the API as one who never was.
function readUser(db, id) {
  return db.prepare(`SELECT ${USER} FROM users WHERE id = ? AND deleted_at IS NULL`).bind(id).first();
}

async function requireUserRow(db, id) {
  const user = await readUser(db, id);
  if (user === null) throw unknownUser();
  return user;
}

// The code really is invalid_request with the status 404, as documented.
function unknownUser() {
  return invalidRequest('User not found', 404);
}

function auditOf(context, eventType, user, metadata) {
  const { clientId, ...actor } = context.admin;
  return auditEntry(context, eventType, { actor, target: userParty(user), clientId, metadata });
}

function readReason(reason) {
  return isText(reason) ? reason.trim().slice(0, MAX_REASON) : null;
}

function isText(value) {
  return typeof value === 'string' && value !== '';
}
