// /authorize: the browser's way to an authorization code, by the hosted page or
// silently (prompt=none), and /logout.

import { auditEntry, userParty } from './audit.mjs';
import { findApplication, grantableScopes } from './bearer.mjs';
import { newSecret, sha256, verifyPassword } from './crypto.mjs';
import { html, invalidRequest, json, OAuthError, readForm, readJson } from './http.mjs';
import { verifyOwnJwt } from './keys.mjs';
import { consentPage, passwordPage, signInPage } from './page.mjs';
import { isForgetful, isPrompted, prompt, setPrompted } from './prompt.mjs';
import { clearedCookie, endBrowserSession, openSession, readBrowserSession, startBrowserSession } from './sessions.mjs';

// ASSUMPTION: the documents give no lifetime of an authorization code.
const CODE_SECONDS = 60;

export async function authorize(context) {
  const asked = await readAuthorization(context);
  if (asked.refusal !== undefined) return asked.refusal;
  const silent = asked.query.get('prompt') === 'none';
  // ASSUMPTION: prompt=login shows the page to everyone.
  const browser = asked.query.get('prompt') === 'login' ? undefined : await readBrowserSession(context);
  if (browser === undefined) {
    if (silent) return redirectError(asked, 'login_required', 'Nobody is signed in');
    return html(signInPage({ application: asked.application, action: ownAddress(context) }));
  }
  const scopes = await grantedScopes(context, asked, browser.user);
  if (await hasConsented(context.db, browser.user, asked.application, scopes)) {
    return redirectWithCode(context, asked, browser, scopes);
  }
  if (silent) return redirectError(asked, 'consent_required', 'The application has not been consented to');
  const { application } = asked;
  return html(consentPage({ application, action: ownAddress(context), user: browser.user, scopes }));
}

// The form of the hosted page. Signing in on it counts as consent (ASSUMPTION).
export async function signIn(context) {
  const asked = await readAuthorization(context);
  if (asked.refusal !== undefined) return asked.refusal;
  const form = await readForm(context.request);
  if (form.consent === 'yes') {
    const browser = await readBrowserSession(context);
    if (browser === undefined) return showAgain(context, asked, 401, 'Please sign in');
    return redirectConsented(context, asked, browser);
  }
  const user = await context.db
    .prepare('SELECT * FROM users WHERE email = ? AND deleted_at IS NULL')
    .bind(form.email ?? '')
    .first();
  if (isPrompted(user)) {
    if (form.new_password === undefined) {
      await prompt(context, user);
      return html(passwordPage({ application: asked.application, action: ownAddress(context), email: user.email }));
    }
    const message = await setPrompted(context, user, form);
    if (message !== undefined) {
      await recordFailure(context, asked, user, 'prompt_refused');
      return html(passwordPage({ application: asked.application, action: ownAddress(context), email: user.email, message }), 401);
    }
    return enter(context, asked, user, form);
  }
  if (form.forgot === 'on') {
    const isKnown = isForgetful(user, form);
    const again = (message, status) => html(passwordPage({ application: asked.application, action: ownAddress(context), email: form.email ?? '', isForgotten: true, message }), status);
    if (form.new_password === undefined) {
      // The same page for whoever is not known.
      if (isKnown) await prompt(context, user, 'reset_password');
      return again();
    }
    const message = isKnown ? await setPrompted(context, user, form, 'user.password_reset') : 'Wrong or expired code';
    if (message === undefined) return enter(context, asked, user, form);
    await recordFailure(context, asked, user, 'reset_refused');
    return again(message, 401);
  }
  // ASSUMPTION: somebody without a password and without a verified address is told the same as with a wrong one.
  if (user === null || !(await verifyPassword(form.password ?? '', user.password_hash))) {
    await recordFailure(context, asked, user, 'invalid_credentials');
    return showAgain(context, asked, 401, 'Wrong email or password');
  }
  if (user.is_suspended) {
    await recordFailure(context, asked, user, 'suspended');
    return showAgain(context, asked, 403, 'This account is suspended');
  }
  return enter(context, asked, user, form);
}

async function enter(context, asked, user, form) {
  const { browser, header } = await startBrowserSession(context, user, {
    clientId: asked.application.id,
    remember: form.remember === 'on',
  });
  const response = await redirectConsented(context, asked, browser);
  response.headers.append('set-cookie', header);
  return response;
}

// Ends this browser's session and what the asking application holds of it.
// ASSUMPTION: other applications keep theirs; the documents disagree with each other.
export async function logout(context) {
  const given = context.request.method === 'POST' ? await readLogoutBody(context.request) : {};
  const asked = { ...Object.fromEntries(context.url.searchParams), ...given };
  const hint = asked.id_token_hint && (await readHint(context, asked.id_token_hint));
  // A forged hint clears the caller's cookie and does nothing else.
  const application = asked.id_token_hint && !hint ? null : await findApplication(context.db, hint?.aud ?? asked.client_id);
  const idHash = await endBrowserSession(context);
  if (application !== null) {
    const filter = `client_id = ?1 AND revoked_at IS NULL AND (browser_hash = ?2 OR user_id = ?3)`;
    const values = [application.id, idHash ?? '', hint?.sub ?? ''];
    await context.db.batch([
      context.db
        .prepare(
          `UPDATE refresh_tokens SET revoked_at = unixepoch() WHERE revoked_at IS NULL
           AND session_id IN (SELECT id FROM sessions WHERE ${filter})`,
        )
        .bind(...values),
      context.db.prepare(`UPDATE sessions SET revoked_at = unixepoch() WHERE ${filter}`).bind(...values),
    ]);
  }
  const target = asked.post_logout_redirect_uri;
  const allowed = application === null ? [] : JSON.parse(application.post_logout_uris);
  const isAllowed = allowed.some((uri) => sameButPort(withoutSlash(uri), withoutSlash(target ?? '')));
  const headers = { 'set-cookie': clearedCookie(context) };
  if (!isAllowed) return json({ success: true }, 200, headers);
  const location = new URL(target);
  if (asked.state !== undefined) location.searchParams.set('state', asked.state);
  return new Response(null, { status: 302, headers: { ...headers, location: location.href } });
}

// What the application asks for. A redirect URI that cannot be trusted is told to
// the person on the spot, everything later to the application.
async function readAuthorization(context) {
  const query = context.url.searchParams;
  const application = await findApplication(context.db, query.get('client_id'));
  if (application === null || !application.is_active || application.client_type === 'm2m') {
    throw invalidRequest('Unknown client_id');
  }
  const redirectUri = query.get('redirect_uri') ?? '';
  if (!JSON.parse(application.redirect_uris).some((uri) => sameButPort(uri, redirectUri))) {
    throw new OAuthError(400, 'redirect_uri_mismatch', 'The redirect_uri is not registered');
  }
  const asked = { query, application, redirectUri };
  const refuse = (code, message) => ({ ...asked, refusal: redirectError(asked, code, message) });
  if (query.get('response_type') !== 'code') return refuse('unsupported_response_type', 'response_type must be code');
  if (!query.get('scope')) return refuse('invalid_scope', 'scope is required');
  const isPublic = application.secret_hash === null;
  if (isPublic && !query.get('code_challenge')) return refuse('invalid_request', 'code_challenge is required');
  if (query.get('code_challenge') && query.get('code_challenge_method') !== 'S256') {
    return refuse('invalid_request', 'code_challenge_method must be S256');
  }
  return asked;
}

// Exact, but for the port of a loopback address, which a local application may
// choose (RFC 8252, section 7.3). ASSUMPTION: mgPass documents exact matches only.
function sameButPort(registered, given) {
  if (registered === given) return true;
  const [left, right] = [registered, given].map((uri) => /^(http:\/\/(?:127\.0\.0\.1|\[::1\])):\d+(\/.*)?$/.exec(uri));
  return left !== null && right !== null && left[1] === right[1] && left[2] === right[2];
}

function withoutSlash(uri) {
  return uri.replace(/\/$/, '');
}

async function grantedScopes(context, asked, user) {
  const grantable = await grantableScopes(context.db, user.id);
  const allowed = JSON.parse(asked.application.allowed_scopes);
  const wanted = new Set(asked.query.get('scope').split(' '));
  return [...wanted].filter((scope) => allowed.includes(scope) && grantable.has(scope));
}

async function readConsent(db, user, application) {
  const row = await db
    .prepare('SELECT scopes FROM consents WHERE user_id = ? AND client_id = ?')
    .bind(user.id, application.id)
    .first();
  return row === null ? undefined : JSON.parse(row.scopes);
}

async function hasConsented(db, user, application, scopes) {
  const consented = await readConsent(db, user, application);
  return consented !== undefined && scopes.every((scope) => consented.includes(scope));
}

async function redirectConsented(context, asked, browser) {
  const scopes = await grantedScopes(context, asked, browser.user);
  const before = (await readConsent(context.db, browser.user, asked.application)) ?? [];
  await context.db
    .prepare('INSERT OR REPLACE INTO consents (user_id, client_id, scopes, created_at) VALUES (?, ?, ?, unixepoch())')
    .bind(browser.user.id, asked.application.id, JSON.stringify([...new Set([...before, ...scopes])]))
    .run();
  return redirectWithCode(context, asked, browser, scopes);
}

async function redirectWithCode(context, asked, browser, scopes) {
  const { query, application, redirectUri } = asked;
  const sessionId = await openSession(context, browser.user, application.id, browser.idHash);
  const code = newSecret();
  await context.db
    .prepare(
      `INSERT INTO authorization_codes
         (code_hash, client_id, redirect_uri, user_id, session_id, scope, nonce, code_challenge, expires_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, unixepoch() + ?)`,
    )
    .bind(
      await sha256(code),
      application.id,
      redirectUri,
      browser.user.id,
      sessionId,
      scopes.join(' '),
      query.get('nonce'),
      query.get('code_challenge'),
      CODE_SECONDS,
    )
    .run();
  return redirectTo(asked, { code });
}

function redirectError(asked, error, description) {
  return redirectTo(asked, { error, error_description: description });
}

function redirectTo({ query, redirectUri }, values) {
  const location = new URL(redirectUri);
  for (const [name, value] of Object.entries(values)) location.searchParams.set(name, value);
  if (query.has('state')) location.searchParams.set('state', query.get('state'));
  return new Response(null, { status: 302, headers: { location: location.href, 'cache-control': 'no-store' } });
}

function showAgain(context, { application }, status, message) {
  return html(signInPage({ application, action: ownAddress(context), message }), status);
}

function ownAddress({ url }) {
  return `${url.pathname}${url.search}`;
}

async function recordFailure(context, asked, user, reason) {
  const party = user === null ? undefined : userParty(user);
  const entry = { actor: party, target: party, clientId: asked.application.id, metadata: { method: 'password', reason } };
  await auditEntry(context, 'user.login.failed', entry).run();
}

async function readLogoutBody(request) {
  const isJson = (request.headers.get('content-type') ?? '').startsWith('application/json');
  return isJson ? readJson(request, { optional: true }) : readForm(request);
}

// An expired hint is good; a forged one is not.
function readHint({ env, edition }, token) {
  return verifyOwnJwt(env, edition.algorithm, token, { currentDate: new Date(0) });
}
