// What an application does, with a real OIDC client library: register and sign in
// through the Experience API, get tokens, call the Management API.

import * as oidc from 'openid-client';

export const REDIRECT_URI = 'http://127.0.0.1:5999/callback';
export const SPA = 'sandboxspa00000000000';
export const M2M = { id: 'sandboxm2m00000000000', secret: 'sample-secret-m2m' };
export const MGPASS_APP = { id: 'app_proxy', secret: 'mgpass-proxy-secret' };
export const MANAGEMENT_API = 'https://default.logto.app/api';

// A browser's cookies, as far as one origin needs them; Logto's values hold raw JSON.
export class Jar {
  #cookies = new Map();
  take(response) {
    for (const line of response.headers.getSetCookie()) {
      const [pair, ...attributes] = line.split(';');
      const at = pair.indexOf('=');
      const [name, value] = [pair.slice(0, at), pair.slice(at + 1)];
      const path = attributes.find((attribute) => /^ *path=/i.test(attribute))?.split('=')[1] ?? '/';
      if (value === '' || /expires=Thu, 01 Jan 1970/.test(line)) this.#cookies.delete(name);
      else this.#cookies.set(name, { value, path });
    }
  }
  header(url) {
    const { pathname } = new URL(url);
    return [...this.#cookies]
      .filter(([, { path }]) => path === '/' || pathname === path)
      .map(([name, { value }]) => `${name}=${value}`)
      .join('; ');
  }
}

const insecure = { execute: [oidc.allowInsecureRequests] };

export function logtoClient(issuer) {
  return oidc.discovery(new URL(issuer), SPA, undefined, oidc.None(), insecure);
}

// Registration or sign-in with username and password, then the code flow. `seen`
// hears of each call: (name, status).
export async function signIn({ origin, issuer, username, password, register = false, resource, seen = () => {} }) {
  const jar = new Jar();
  const config = await logtoClient(issuer);
  const verifier = oidc.randomPKCECodeVerifier();
  const state = oidc.randomState();
  const start = oidc.buildAuthorizationUrl(config, {
    redirect_uri: REDIRECT_URI,
    scope: 'openid profile email offline_access',
    prompt: 'consent',
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    ...(resource && { resource }),
    ...(register && { first_screen: 'register' }),
  });
  const call = async (method, url, body) => {
    const absolute = new URL(url, origin).href;
    const response = await fetch(absolute, {
      method,
      redirect: 'manual',
      headers: { cookie: jar.header(absolute), 'logto-app-id': SPA, ...(body && { 'content-type': 'application/json' }) },
      body: body && JSON.stringify(body),
    });
    jar.take(response);
    seen(`${method} ${new URL(absolute).pathname}`, response.status);
    if (response.status >= 400) throw new Error(`${method} ${url}: ${response.status} ${await response.text()}`);
    return response;
  };
  await call('GET', start.href);
  await call('PUT', '/api/experience', { interactionEvent: register ? 'Register' : 'SignIn' });
  if (register) {
    await call('POST', '/api/experience/profile', { type: 'username', value: username });
    await call('POST', '/api/experience/profile', { type: 'password', value: password });
    await call('POST', '/api/experience/identification', {});
  } else {
    const identifier = { type: 'username', value: username };
    const verified = await call('POST', '/api/experience/verification/password', { identifier, password });
    await call('POST', '/api/experience/identification', await verified.json());
  }
  let { redirectTo: next } = await (await call('POST', '/api/experience/submit')).json();
  while (!next.startsWith(REDIRECT_URI)) next = (await call('GET', next)).headers.get('location');
  const tokens = await oidc.authorizationCodeGrant(config, new URL(next), {
    pkceCodeVerifier: verifier,
    expectedState: state,
  }, resource && { resource });
  return { tokens, config, jar };
}

// A machine's token: for Logto's Management API, or mgPass's admin API.
export async function machineToken(issuer, { id, secret }, parameters) {
  const config = await oidc.discovery(new URL(issuer), id, secret, oidc.ClientSecretBasic(secret), insecure);
  return (await oidc.clientCredentialsGrant(config, parameters)).access_token;
}

export const managementToken = (issuer) => machineToken(issuer, M2M, { resource: MANAGEMENT_API, scope: 'all' });
export const mgpassToken = (issuer) => machineToken(issuer, MGPASS_APP, { scope: 'mgpass:admin' });

// The Management API through some origin, as JSON.
export function management(origin, token) {
  return async (method, path, body) => {
    const response = await fetch(`${origin}/api${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }) },
      body: body && JSON.stringify(body),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, json: () => JSON.parse(text) };
  };
}

// Flips one character in the middle of the signature.
export function tamper(token) {
  const at = token.length - 20;
  return token.slice(0, at) + (token[at] === 'A' ? 'B' : 'A') + token.slice(at + 1);
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Asks until the answer is truthy; how long it took, in milliseconds.
export async function until(what, ask, { withinMs = 10_000, everyMs = 50 } = {}) {
  const began = Date.now();
  for (;;) {
    const answer = await ask();
    if (answer) return { answer, tookMs: Date.now() - began };
    if (Date.now() - began > withinMs) throw new Error(`not within ${withinMs} ms: ${what}`);
    await pause(everyMs);
  }
}

// What a replay of these users leaves in the proxy's database (`?1`: a JSON list of
// ids): a turn of theirs has something to cover, and any sweep finds them.
const NOW = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";
export const LEAVE_INTENTS = `INSERT INTO intents (id, subject, operation, opened_at, expires_at, settled, status)
  SELECT 'replay.' || w.value, w.value, 'replay', ${NOW}, ${NOW}, (SELECT value FROM counters WHERE name = 'sequence'), 200
  FROM json_each(?1) w WHERE true ON CONFLICT (id) DO UPDATE SET discharged_at = NULL, settled = excluded.settled`;
