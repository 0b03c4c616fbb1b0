// What tests may do behind the API's back, on a port of its own (the named
// entrypoint Control). Every change made here leaves the read cache as it is,
// as another writer of the database would.
//
//   GET    /settings                     PATCH /settings {read_cache_ms, users_limit_per_minute, refresh_grace_ms}
//   POST   /imported-keys                {issuer, jwk | pem, kid?, alg?, stopped_at?, max_lifetime?, sunset?}
//   DELETE /imported-keys                all of them
//   POST   /signing-key/rotate           {} -> {kid}
//   POST   /tokens                       {user_id?, client_id, scope?} -> what /token answers; without a user the client's own token
//   GET    /users                        every row as JSON lines, deleted ones too, with identities and roles
//   POST   /users/bulk-delete            {ids: []} or {not_seeded: true}: the rows vanish
//   POST   /users/alter                  {id, column, value}: one column of one row
//   GET    /mails                        the mailbox of everybody, newest first: [{user_id, subject, code, sent_at}]
//   GET    /rewards                      every balance as JSON lines, with the sum of the ledger and the number of entries
//   GET    /rewards/ledger               every entry as JSON lines
//   POST   /rewards/credit               {credits: [{user_id, points, event_type?, platform?, reference_id?, metadata?}]}
//   POST   /rewards/reconcile            what reconcile would find, for everybody: {checked, drifted: [{user_id, cached, calculated}]}; changes nothing

import { forgetAll } from './cache.mjs';
import { findApplication, findUser, grantableScopes } from './bearer.mjs';
import { ApiError, invalidRequest, json, readJson } from './http.mjs';
import { importKey, rotateSigningKey } from './keys.mjs';
import { seededUserIds } from './seed.mjs';
import { credits } from './rewards.mjs';
import { openSession } from './sessions.mjs';
import { changeSettings, getSettings } from './settings.mjs';
import { issueMachineToken, issueTokens } from './token.mjs';

const PAGE = 500;
const BALANCES = `SELECT user_rewards.*,
  (SELECT coalesce(sum(points), 0) FROM points_ledger WHERE points_ledger.user_id = user_rewards.user_id) AS ledger_sum,
  (SELECT count(*) FROM points_ledger WHERE points_ledger.user_id = user_rewards.user_id) AS n_entries FROM user_rewards`;

const handlers = {
  'GET /settings': ({ env }) => json(getSettings(env)),
  'PATCH /settings': patchSettings,
  'POST /imported-keys': async ({ db, request }) => json(await importKey(db, await readJson(request)), 201),
  'DELETE /imported-keys': removeImportedKeys,
  'POST /signing-key/rotate': async ({ env, edition }) => json({ kid: await rotateSigningKey(env, edition.algorithm) }, 201),
  'POST /tokens': issueToken,
  'GET /users': dumpUsers,
  'POST /users/bulk-delete': bulkDelete,
  'POST /users/alter': alterUser,
  'GET /mails': async ({ db }) => json((await db.prepare('SELECT * FROM mails ORDER BY rowid DESC LIMIT 100').all()).results),
  'GET /rewards': ({ db }) => dump(db, BALANCES, 'user_id'),
  'GET /rewards/ledger': ({ db }) => dump(db, 'SELECT * FROM points_ledger', 'id'),
  'POST /rewards/credit': creditMany,
  'POST /rewards/reconcile': checkBalances,
};

export function handleControl(context) {
  const handler = handlers[`${context.request.method} ${context.url.pathname}`];
  if (handler === undefined) throw new ApiError(404, 'not_found', 'No such control route');
  return handler(context);
}

async function patchSettings({ env, request }) {
  const wrong = changeSettings(env, await readJson(request));
  if (wrong.length > 0) throw invalidRequest(`Unknown or not a number of at least 0: ${wrong.join(', ')}`);
  // A changed age must not be mixed with entries of the old one.
  forgetAll();
  return json(getSettings(env));
}

async function removeImportedKeys({ db }) {
  await db.prepare('DELETE FROM imported_keys').run();
  return new Response(null, { status: 204 });
}

// Signs somebody in without a browser: a new session each time, for load tests too.
async function issueToken(context) {
  const { user_id: userId, client_id: clientId, scope } = await readJson(context.request);
  const application = await findApplication(context.db, clientId);
  if (application === null) throw invalidRequest('Unknown client_id', 404);
  if (userId === undefined) return json(await issueMachineToken(context, application, scope), 201);
  const user = await findUser(context.db, userId);
  if (user === null) throw invalidRequest('Unknown user_id', 404);
  const allowed = JSON.parse(application.allowed_scopes);
  const grantable = await grantableScopes(context.db, userId);
  const wanted = scope?.split(' ') ?? allowed;
  const scopes = wanted.filter((name) => allowed.includes(name) && grantable.has(name));
  const sessionId = await openSession(context, user, clientId);
  return json(await issueTokens(context, application, user, { sessionId, scopes }), 201);
}

// A table of any size, page by page after its key.
function dump(db, select, key) {
  return lines(async (after) => {
    const { results } = await db.prepare(`${select} WHERE ${key} > ? ORDER BY ${key} LIMIT ${PAGE}`).bind(after).all();
    return { objects: results, last: results.at(-1)?.[key], isLast: results.length < PAGE };
  });
}

async function creditMany({ db, request }) {
  const { credits: list } = await readJson(request);
  if (!Array.isArray(list)) throw invalidRequest('credits is required');
  await credits(db, list.map(({ user_id: userId, points, event_type: eventType, platform, reference_id: referenceId, metadata }) => (
    { userId, points, eventType, platform, referenceId, metadata })));
  return json({ credited: list.length }, 201);
}

async function checkBalances({ db }) {
  const { results } = await db.prepare(`SELECT user_id, total_points AS cached, ledger_sum AS calculated FROM (${BALANCES})`).all();
  return json({ checked: results.length, drifted: results.filter(({ cached, calculated }) => cached !== calculated) });
}

function dumpUsers({ db }) {
  return lines(async (after) => {
    const { results } = await db
      .prepare(
        `SELECT users.*,
           (SELECT json_group_array(json_object('id', id, 'provider', provider, 'provider_user_id', provider_user_id,
              'profile_data', json(profile_data), 'created_at', created_at))
            FROM (SELECT * FROM social_identities WHERE user_id = users.id ORDER BY provider, provider_user_id)) AS identities,
           (SELECT json_group_array(name)
            FROM (SELECT name FROM roles JOIN user_roles ON role_id = roles.id WHERE user_id = users.id ORDER BY name)) AS roles
         FROM users WHERE users.id > ? ORDER BY users.id LIMIT ${PAGE}`,
      )
      .bind(after)
      .all();
    const objects = results.map(({ metadata, identities, roles, ...row }) => (
      { ...row, metadata: JSON.parse(metadata), identities: JSON.parse(identities), roles: JSON.parse(roles) }));
    return { objects, last: results.at(-1)?.id, isLast: results.length < PAGE };
  });
}

function lines(readPage) {
  const encoder = new TextEncoder();
  let after = '';
  const stream = new ReadableStream({
    async pull(controller) {
      const { objects, last, isLast } = await readPage(after);
      if (objects.length > 0) controller.enqueue(encoder.encode(`${objects.map((object) => JSON.stringify(object)).join('\n')}\n`));
      after = last;
      if (isLast) controller.close();
    },
  });
  return new Response(stream, { headers: { 'content-type': 'application/jsonl' } });
}

async function bulkDelete({ db, request }) {
  const { ids, not_seeded: notSeeded } = await readJson(request);
  if (!Array.isArray(ids) && notSeeded !== true) throw invalidRequest('ids or not_seeded is required');
  // One JSON parameter, whatever the number of ids.
  const list = JSON.stringify(notSeeded ? seededUserIds : ids);
  const which = `${notSeeded ? 'NOT ' : ''}IN (SELECT value FROM json_each(?))`;
  const tables = ['points_ledger', 'user_rewards', 'social_identities', 'user_roles', 'sessions', 'browser_sessions', 'consents', 'authorization_codes', 'refresh_tokens'];
  const results = await db.batch([
    ...tables.map((table) => db.prepare(`DELETE FROM ${table} WHERE user_id ${which}`).bind(list)),
    db.prepare(`DELETE FROM users WHERE id ${which}`).bind(list),
  ]);
  return json({ deleted: results.at(-1).meta.changes });
}

async function alterUser({ db, request }) {
  const { id, column, value } = await readJson(request);
  const { results } = await db.prepare("SELECT name FROM pragma_table_info('users')").all();
  if (!results.some(({ name }) => name === column)) throw invalidRequest(`users has no column ${column}`);
  const stored = value !== null && typeof value === 'object' ? JSON.stringify(value) : value;
  const { meta } = await db.prepare(`UPDATE users SET ${column} = ? WHERE id = ?`).bind(stored, id).run();
  if (meta.changes === 0) throw invalidRequest('Unknown id', 404);
  return json({ altered: id });
}
