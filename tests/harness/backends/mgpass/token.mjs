// The token endpoint's three grants, introspection, revocation and userinfo.

import { auditEntry, userParty } from './audit.mjs';
import {
  authenticateClient,
  findApplication,
  findUser,
  grantableScopes,
  requireUser,
  scopesOf,
  validateAccessToken,
} from './bearer.mjs';
import { newId, newSecret, sha256 } from './crypto.mjs';
import { json, OAuthError, readForm } from './http.mjs';
import { signJwt } from './keys.mjs';
import { extendSession, revokeEverything } from './sessions.mjs';
import { getSettings } from './settings.mjs';

const ID_TOKEN_TTL = 3600;

export async function token(context) {
  const form = await readForm(context.request);
  const application = await authenticateClient(context, form, { allowPublic: true });
  const isMachine = application.client_type === 'm2m';
  switch (form.grant_type) {
    case 'authorization_code':
      if (isMachine) break;
      return grantTokens(await exchangeCode(context, application, form));
    case 'refresh_token':
      if (isMachine) break;
      return grantTokens(await refresh(context, application, form));
    case 'client_credentials':
      if (!isMachine) break;
      return grantTokens(await issueMachineToken(context, application, form.scope));
    default:
      throw new OAuthError(400, 'unsupported_grant_type', 'The grant_type is not supported');
  }
  throw new OAuthError(400, 'unauthorized_client', 'The application may not use this grant_type');
}

function grantTokens(body) {
  return json(body, 200, { 'cache-control': 'no-store' });
}

async function exchangeCode(context, application, form) {
  // Used up by the attempt, so that two exchanges of one code cannot both win.
  const code = await context.db
    .prepare(
      `UPDATE authorization_codes SET used_at = unixepoch()
       WHERE code_hash = ? AND used_at IS NULL AND expires_at > unixepoch() RETURNING *`,
    )
    .bind(await sha256(form.code ?? ''))
    .first();
  if (code === null || code.client_id !== application.id || code.redirect_uri !== form.redirect_uri) {
    throw invalidGrant('The authorization code is not valid');
  }
  if (code.code_challenge !== null && (await sha256(form.code_verifier ?? '')) !== code.code_challenge) {
    throw invalidGrant('The code_verifier does not match');
  }
  const user = await requireActiveUser(context.db, code.user_id);
  return issueTokens(context, application, user, {
    sessionId: code.session_id,
    scopes: code.scope.split(' '),
    nonce: code.nonce,
  });
}

// Everything a person's application gets. Also used by the control routes.
export async function issueTokens(context, application, user, { sessionId, scopes, nonce }) {
  const scope = scopes.join(' ');
  const body = await accessTokenBody(context, application, user.id, { sessionId, scope });
  if (scopes.includes('offline_access') || !context.edition.needsOfflineAccess) {
    body.refresh_token = await newRefreshToken(context, application, { sessionId, userId: user.id, scope });
  }
  if (scopes.includes('openid')) body.id_token = await idToken(context, application, user, nonce);
  await auditEntry(context, 'token.issued', {
    actor: userParty(user),
    target: userParty(user),
    clientId: application.id,
  }).run();
  return { ...body, scope };
}

// The secret of rotation: each refresh token works once. Losing a race for it is
// harmless within the grace window; a later replay is taken for theft.
async function refresh(context, application, form) {
  const { db, env } = context;
  const hash = await sha256(form.refresh_token ?? '');
  const row = await db
    .prepare(
      `SELECT refresh_tokens.*, sessions.revoked_at AS session_revoked_at FROM refresh_tokens
       JOIN sessions ON sessions.id = refresh_tokens.session_id WHERE token_hash = ?`,
    )
    .bind(hash)
    .first();
  if (row === null || row.client_id !== application.id) throw invalidGrant('The refresh token is not valid');
  if (row.retired_at_ms !== null) return refuseRetired(context, row);
  const isOver = row.expires_at <= Date.now() / 1000 || row.revoked_at !== null || row.session_revoked_at !== null;
  if (isOver) throw invalidGrant('The refresh token is expired or revoked');
  const user = await requireActiveUser(db, row.user_id);
  if (application.refresh_token_rotation) {
    const { meta } = await db
      .prepare('UPDATE refresh_tokens SET retired_at_ms = ? WHERE token_hash = ? AND retired_at_ms IS NULL AND revoked_at IS NULL')
      .bind(Date.now(), hash)
      .run();
    if (meta.changes === 0) throw lostRace();
  }
  // Role changes show in the next access token.
  const grantable = await grantableScopes(db, user.id);
  const scope = scopesOf(row).filter((name) => grantable.has(name)).join(' ');
  const body = await accessTokenBody(context, application, user.id, { sessionId: row.session_id, scope });
  if (application.refresh_token_rotation) {
    const next = { sessionId: row.session_id, userId: user.id, scope: row.scope };
    body.refresh_token = await newRefreshToken({ db, env }, application, next);
  }
  await db.batch([
    ...extendSession(db, row.session_id),
    auditEntry(context, 'token.refreshed', { actor: userParty(user), target: userParty(user), clientId: application.id }),
  ]);
  return body;
}

async function refuseRetired(context, row) {
  const graceMs = context.edition.hasRefreshGrace ? getSettings(context.env).refresh_grace_ms : 0;
  if (Date.now() - row.retired_at_ms < graceMs) throw lostRace();
  const party = { type: 'user', id: row.user_id };
  await revokeEverything(context.db, row.user_id, [
    auditEntry(context, 'session.revoked', {
      actor: party,
      target: party,
      clientId: row.client_id,
      metadata: { reason: 'refresh_token_replayed', session_id: row.session_id },
    }),
  ]);
  throw new OAuthError(401, 'invalid_grant', 'The refresh token was used before; all sessions were revoked');
}

function lostRace() {
  return new OAuthError(409, 'invalid_grant', 'rotation_in_progress');
}

// Scopes beyond the application's own are dropped silently. ASSUMPTION: asking for
// none gives all of them.
export async function issueMachineToken(context, application, wanted) {
  const allowed = JSON.parse(application.allowed_scopes);
  const asked = wanted?.split(' ').filter(Boolean) ?? [];
  const scopes = asked.length === 0 ? allowed : allowed.filter((scope) => asked.includes(scope));
  const body = await accessTokenBody(context, application, application.id, { scope: scopes.join(' ') });
  const party = { type: 'application', id: application.id, name: application.name };
  await auditEntry(context, 'token.issued', { actor: party, target: party, clientId: application.id }).run();
  return { ...body, scope: scopes.join(' ') };
}

export async function introspect(context) {
  const form = await readForm(context.request);
  await authenticateClient(context, form);
  if (!form.token) throw new OAuthError(400, 'invalid_request', 'token is required');
  const found = (await describeRefreshToken(context, form.token)) ?? (await describeAccessToken(context, form.token));
  return json(found ?? { active: false }, 200, { 'cache-control': 'no-store' });
}

// ASSUMPTION: of an access token nothing is revoked; the documents speak of refresh tokens.
export async function revoke(context) {
  const form = await readForm(context.request);
  const application = await authenticateClient(context, form, { allowPublic: true });
  await context.db
    .prepare(
      `UPDATE refresh_tokens SET revoked_at = unixepoch()
       WHERE revoked_at IS NULL AND client_id = ?
         AND session_id = (SELECT session_id FROM refresh_tokens WHERE token_hash = ?)`,
    )
    .bind(application.id, await sha256(form.token ?? ''))
    .run();
  return new Response(null, { status: 200 });
}

export async function userinfo(context) {
  const { claims, user } = await requireUser(context);
  const scopes = scopesOf(claims);
  const body = { sub: user.id };
  if (scopes.includes('email')) Object.assign(body, { email: user.email, email_verified: user.email_verified === 1 });
  if (scopes.includes('profile')) Object.assign(body, { name: user.name, picture: user.avatar });
  if (scopes.includes('phone')) {
    Object.assign(body, { phone_number: user.phone, phone_number_verified: user.phone_verified === 1 });
  }
  return json(body);
}

async function describeRefreshToken(context, value) {
  const row = await context.db
    .prepare(
      `SELECT refresh_tokens.* FROM refresh_tokens JOIN sessions ON sessions.id = refresh_tokens.session_id
       WHERE token_hash = ? AND refresh_tokens.revoked_at IS NULL AND retired_at_ms IS NULL
         AND sessions.revoked_at IS NULL AND refresh_tokens.expires_at > unixepoch()`,
    )
    .bind(await sha256(value))
    .first();
  if (row === null) return undefined;
  return active(context, { ...row, sub: row.user_id, exp: row.expires_at, iat: row.created_at, iss: context.env.ISSUER }, 'refresh_token');
}

// ASSUMPTION: a token of an imported issuer is reported as active while it is accepted.
async function describeAccessToken(context, value) {
  const claims = await validateAccessToken(context, value);
  return claims && active(context, { ...claims, client_id: claims.client_id ?? claims.aud }, 'Bearer');
}

async function active({ db }, { sub, scope, client_id, exp, iat, iss, isImported }, tokenType) {
  let scopes = scopesOf({ scope });
  // Narrowed to what the roles of the moment still allow; an imported issuer's scopes are not ours to judge.
  if (!isImported) {
    const application = sub === client_id ? await findApplication(db, sub) : null;
    const grantable = application === null ? await grantableScopes(db, sub) : new Set(JSON.parse(application.allowed_scopes));
    scopes = scopes.filter((name) => grantable.has(name));
  }
  return { active: true, sub, scope: scopes.join(' '), client_id, exp, iat, iss, token_type: tokenType };
}

async function accessTokenBody({ env, edition, db }, application, subject, { sessionId, scope }) {
  const iat = Math.floor(Date.now() / 1000);
  const exp = iat + application.access_token_ttl;
  const jti = newId('tok', 16);
  if (sessionId !== undefined) {
    const insert = 'INSERT INTO access_tokens (jti, session_id, expires_at) VALUES (?, ?, ?)';
    await db.prepare(insert).bind(jti, sessionId, exp).run();
  }
  const claims = { iss: env.ISSUER, sub: subject, aud: application.id, scope, iat, exp, jti };
  const accessToken = await signJwt(env, edition.algorithm, claims);
  return { access_token: accessToken, token_type: 'Bearer', expires_in: application.access_token_ttl };
}

async function newRefreshToken({ db }, application, { sessionId, userId, scope }) {
  const value = newSecret('rt_');
  await db
    .prepare(
      `INSERT INTO refresh_tokens (token_hash, session_id, user_id, client_id, scope, created_at, expires_at)
       VALUES (?, ?, ?, ?, ?, unixepoch(), unixepoch() + ?)`,
    )
    .bind(await sha256(value), sessionId, userId, application.id, scope, application.refresh_token_ttl)
    .run();
  return value;
}

function idToken({ env, edition }, application, user, nonce) {
  const iat = Math.floor(Date.now() / 1000);
  return signJwt(env, edition.algorithm, {
    iss: env.ISSUER,
    sub: user.id,
    aud: application.id,
    name: user.name,
    email: user.email,
    email_verified: user.email_verified === 1,
    picture: user.avatar,
    iat,
    exp: iat + ID_TOKEN_TTL,
    // ASSUMPTION: a nonce comes back as OpenID Connect wants it.
    ...(nonce ? { nonce } : {}),
  });
}

async function requireActiveUser(db, userId) {
  const user = await findUser(db, userId);
  if (user === null || user.is_suspended) throw invalidGrant('The user may not sign in');
  return user;
}

function invalidGrant(message) {
  return new OAuthError(400, 'invalid_grant', message);
}
