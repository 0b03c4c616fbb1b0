// What the contract tests share: a server with the recorded applications, replays, and whole sign-ins.

import assert from 'node:assert/strict';
import { startLogto } from '../main.mjs';
import { defaultSeed } from '../seed.mjs';
import { Jar, M2M, Normaliser, RECORDED_ORIGIN, SPA, WEB, comparable, send } from './client.mjs';

const recordedHost = new URL(RECORDED_ORIGIN).host;
export const [spa, web, m2m] = defaultSeed.applications;
const recordedApplications = [
  { ...spa, id: SPA }, { ...web, id: WEB }, { ...m2m, id: M2M, secret: 'sample-secret-proxy-m2m' },
];
export const basic = (id, secret) => `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`;
export const form = { 'content-type': 'application/x-www-form-urlencoded' };
export const json = { 'content-type': 'application/json' };

export async function recorded(options = {}) {
  const logto = await startLogto({ endpoint: RECORDED_ORIGIN, ...options, seed: { applications: recordedApplications, ...options.seed } });
  const ask = (request) => send(logto.url, { host: recordedHost, ...request });
  const token = async () => (await ask({
    method: 'POST', url: '/oidc/token', headers: { ...form, authorization: basic(M2M, 'sample-secret-proxy-m2m') },
    body: { grant_type: 'client_credentials', resource: 'https://default.logto.app/api', scope: 'all' },
  })).body.access_token;
  return { logto, ask, bearer: { authorization: `Bearer ${await token()}` } };
}

export const recordedUser = (user, extra = {}) => {
  const { hasPassword, passwordDigest, passwordAlgorithm, ssoIdentities: _none, ...fields } = user;
  const password = passwordDigest ? { digest: passwordDigest, algorithm: passwordAlgorithm } : hasPassword ? 'Vorpal-Blade-42' : null;
  return { ...fields, password, ...extra };
};

/** Replays in order with one jar; `rewrite` may replace what the flow itself produced (codes, ids). */
export async function replay(ask, exchanges, { jar = new Jar(), rewrite = (request) => request, skip = () => false, onAnswer = () => {} } = {}) {
  const [ours, theirs] = [new Normaliser(), new Normaliser()];
  for (const [index, exchange] of exchanges.entries()) {
    if (skip(exchange)) continue;
    const label = `${index} ${exchange.name}`;
    const request = await rewrite(structuredClone(exchange.request), index);
    const answer = await ask({ ...request, headers: { ...(jar.header ? { cookie: jar.header } : {}), ...request.headers } });
    jar.take(answer.cookies);
    onAnswer(answer, exchange, index);
    const ignoreBody = /^\((html page|list)/.test(String(exchange.response.body));
    assert.equal(comparable(answer, ours, { ignoreBody }), comparable(exchange.response, theirs, { ignoreBody }), label);
  }
}

/** Follows what the recorded requests took from earlier answers: uids in paths, codes, verification ids. */
export function flowRewriter(state) {
  return (request) => {
    if (state.location && /\/oidc\/auth\/[\w-]{21}$|\/consent\?/.test(request.url)) request.url = state.location;
    if (request.body?.code && request.body.grant_type) request.body.code = state.code;
    if (request.body?.verificationId) request.body.verificationId = state.verificationId;
    return request;
  };
}
export function flowState() {
  const state = {};
  state.onAnswer = (answer) => {
    if (answer.headers.location) {
      state.location = answer.headers.location;
      state.code = new URL(state.location, RECORDED_ORIGIN).searchParams.get('code') ?? state.code;
    }
    if (answer.body?.redirectTo) state.location = answer.body.redirectTo;
    if (answer.body?.verificationId) state.verificationId = answer.body.verificationId;
  };
  return state;
}

export const verifier = 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk';
const challenge = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM';
export const authorizeUrl = (clientId, scope = 'openid profile email offline_access') => `/oidc/auth?${new URLSearchParams({
  client_id: clientId, redirect_uri: 'http://127.0.0.1:5999/callback', response_type: 'code', scope, prompt: 'consent',
  code_challenge: challenge, code_challenge_method: 'S256', state: 'x',
})}`;

export async function started(ask, interactionEvent) {
  const jar = new Jar();
  jar.take((await ask({ url: authorizeUrl(SPA) })).cookies);
  const put = await ask({ method: 'PUT', url: '/api/experience', headers: { ...json, cookie: jar.header }, body: { interactionEvent } });
  assert.equal(put.status, 204);
  return jar;
}

/** Register or sign in through the Experience API, then the code flow to its end. */
export async function signIn(logto, { username, password, clientId = spa.id, secret, ask = (request) => send(logto.url, request), scope, register = false, paths = (path) => path }) {
  const jar = new Jar();
  const call = async (method, path, body, extra = {}) => {
    const answer = await ask({ method, url: path, body, headers: { cookie: jar.header, ...(body === undefined ? {} : json), ...extra } });
    jar.take(answer.cookies);
    assert.ok(answer.status < 400, `${method} ${path}: ${answer.status} ${answer.text}`);
    return answer;
  };
  await call('GET', authorizeUrl(clientId, scope));
  await call('PUT', '/api/experience', { interactionEvent: register ? 'Register' : 'SignIn' });
  if (register) {
    await call('POST', '/api/experience/profile', { type: 'username', value: username });
    await call('POST', '/api/experience/profile', { type: 'password', value: password });
    assert.equal((await call('POST', paths('/api/experience/identification'), {})).status, 201);
  } else {
    const { body } = await call('POST', '/api/experience/verification/password', { identifier: { type: 'username', value: username }, password });
    await call('POST', paths('/api/experience/identification'), body);
  }
  const interactionUid = JSON.parse(jar.get('_interaction'))[clientId];
  const { body: { redirectTo } } = await call('POST', '/api/experience/submit');
  const consent = await call('GET', redirectTo);
  const back = await call('GET', consent.headers.location);
  const done = await call('GET', back.headers.location);
  const callback = new URL(done.headers.location);
  const token = await ask({
    method: 'POST', url: '/oidc/token', headers: { ...form, ...(secret ? { authorization: basic(clientId, secret) } : {}) },
    body: {
      grant_type: 'authorization_code', code: callback.searchParams.get('code'), redirect_uri: 'http://127.0.0.1:5999/callback',
      code_verifier: verifier, ...(secret ? {} : { client_id: clientId }),
    },
  });
  assert.equal(token.status, 200, token.text);
  return { tokens: token.body, callback, jar, interactionUid };
}
