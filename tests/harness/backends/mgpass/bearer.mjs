// Who calls: bearer tokens of people and applications, and client credentials.

import { sha256 } from './crypto.mjs';
import { ApiError, OAuthError } from './http.mjs';
import { verifyImportedJwt, verifyOwnJwt } from './keys.mjs';

// The claims of an access token that is valid now, or undefined. An access token
// of a person belongs to a session and dies with it, though its signature still holds.
export async function validateAccessToken(context, token) {
  const { env, edition, db } = context;
  const own = await verifyOwnJwt(env, edition.algorithm, token, { requiredClaims: ['sub', 'jti', 'aud'] });
  if (own === undefined) {
    const imported = await verifyImportedJwt(env, token);
    return imported && { ...imported, isImported: true };
  }
  // An application's own token has no session.
  if (own.sub === own.aud) return own;
  const live = await db
    .prepare(
      `SELECT 1 FROM access_tokens JOIN sessions ON sessions.id = access_tokens.session_id
       WHERE access_tokens.jti = ? AND sessions.revoked_at IS NULL`,
    )
    .bind(own.jti)
    .first();
  return live === null ? undefined : own;
}

// The caller of an admin route, as an actor for the audit log.
export async function requireAdmin(context) {
  const token = readBearer(context.request);
  const claims = token && (await validateAccessToken(context, token));
  if (!claims) throw new ApiError(401, 'unauthorized', 'A valid admin token is required');
  // ASSUMPTION: 403 on every admin route; the documents say so of the audit export only.
  if (!scopesOf(claims).includes('mgpass:admin')) {
    throw new ApiError(403, 'insufficient_scope', 'The token does not have the scope mgpass:admin');
  }
  return { type: 'admin', id: claims.sub, clientId: claims.aud };
}

// The claims and the row of the person whose token it is.
export async function requireUser(context) {
  const token = readBearer(context.request);
  const claims = token && (await validateAccessToken(context, token));
  // ASSUMPTION: a deleted person's token is refused; a suspended one's lives on, as documented.
  const user = claims && (await findUser(context.db, claims.sub));
  if (!user) {
    const headers = { 'www-authenticate': 'Bearer error="invalid_token"' };
    throw new OAuthError(401, 'invalid_token', 'The access token is missing, invalid or expired', headers);
  }
  return { claims, user };
}

// The row of the person who calls a self-service route.
export async function requirePerson(context) {
  try {
    return (await requireUser(context)).user;
  } catch (error) {
    if (error instanceof OAuthError) throw new ApiError(401, 'unauthorized', 'A valid access token is required');
    throw error;
  }
}

// The application that calls a token endpoint: HTTP Basic, or the secret in the
// form. A public application has no secret and names itself only.
export async function authenticateClient(context, form, { allowPublic = false } = {}) {
  const { id, secret } = readClientCredentials(context.request, form);
  const application = await findApplication(context.db, id);
  const refused = new OAuthError(401, 'invalid_client', 'Client authentication failed', {
    'www-authenticate': 'Basic realm="mgpass"',
  });
  if (application === null) throw refused;
  if (!application.is_active) throw new OAuthError(401, 'unauthorized_client', 'The application is not active');
  if (application.secret_hash === null) {
    if (!allowPublic) throw refused;
    return application;
  }
  if (secret === undefined || (await sha256(secret)) !== application.secret_hash) throw refused;
  return application;
}

export function findApplication(db, id) {
  return db.prepare('SELECT * FROM applications WHERE id = ?').bind(id ?? '').first();
}

export function findUser(db, id) {
  return db.prepare('SELECT * FROM users WHERE id = ? AND deleted_at IS NULL').bind(id).first();
}

export function scopesOf({ scope }) {
  return typeof scope === 'string' ? scope.split(' ').filter(Boolean) : [];
}

// What a person may be given: the standard scopes, and those of the roles they
// hold now. Asking for more is not an error; it is dropped.
export async function grantableScopes(db, userId) {
  const { results } = await db
    .prepare('SELECT roles.scopes FROM user_roles JOIN roles ON roles.id = user_roles.role_id WHERE user_id = ?')
    .bind(userId)
    .all();
  const standard = ['openid', 'profile', 'email', 'phone', 'offline_access'];
  return new Set([...standard, ...results.flatMap(({ scopes }) => JSON.parse(scopes))]);
}

function readBearer(request) {
  return /^Bearer +(\S+)$/i.exec(request.headers.get('authorization') ?? '')?.[1];
}

function readClientCredentials(request, form) {
  const basic = /^Basic +(\S+)$/i.exec(request.headers.get('authorization') ?? '')?.[1];
  if (basic === undefined) return { id: form.client_id, secret: form.client_secret };
  try {
    // RFC 6749 2.3.1: both halves are form-encoded before they are joined.
    const [, id, secret] = /^([^:]*):(.*)$/s.exec(atob(basic)) ?? [];
    return { id: decodeFormPart(id), secret: decodeFormPart(secret) };
  } catch {
    return {};
  }
}

function decodeFormPart(text) {
  return decodeURIComponent(text.replaceAll('+', ' '));
}
