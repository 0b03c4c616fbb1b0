// The stand-in on real workerd, and the calls that its tests make of it.

import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';

import * as openid from 'openid-client';

import { startStandIn } from './start.mjs';

export const here = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));
export const CALLBACK = 'http://127.0.0.1:5999/callback';
export const AMA = { email: 'ama@example.test', password: 'mgpass-ama-password' };
export let sandbox;
export let issuer;
export let control;
export let db;
export let admin;
let standIn;
let nth = 0;

before(async () => {
  standIn = await startStandIn();
  ({ sandbox, issuer, control, db } = standIn);
  admin = (await clientCredentials()).access_token;
});

after(() => standIn?.close());

export const newsroom = ['app_newsroom', 'mgpass-newsroom-secret'];
export const newcomer = { email: 'yaw@example.test', password: 'mgpass-yaw-password' };
export const challenge = { code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256' };

export function newEmail() {
  nth += 1;
  return `person${nth}@example.test`;
}

export async function createUser(fields = {}) {
  const given = { email: newEmail(), password: 'a-long-password', ...fields };
  const response = await api('POST', '/api/users', given);
  assert.equal(response.status, 201);
  return { ...given, id: (await response.json()).id };
}

// An administrator of its own, so that one test's limit is not another's.
export async function freshAdmin(whole = false) {
  const user = await createUser();
  await db.prepare("INSERT INTO user_roles (user_id, role_id, created_at) VALUES (?, 'role_admin', 1)").bind(user.id).run();
  const tokens = await issue({ user_id: user.id, client_id: 'app_console' });
  return whole ? tokens : tokens.access_token;
}

export async function issue({ client_id: clientId = 'app_spa', ...rest }) {
  const response = await controlCall('POST', '/tokens', { client_id: clientId, ...rest });
  assert.equal(response.status, 201);
  return response.json();
}

export function api(method, route, body, token = admin, headers = {}) {
  const authorization = `Bearer ${token}`;
  const type = body === undefined ? {} : { 'content-type': 'application/json' };
  return fetch(issuer + route, { method, headers: { authorization, ...type, ...headers }, body: body && JSON.stringify(body) });
}

export function controlCall(method, route, body) {
  return fetch(control + route, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
}

export function formCall(route, form, [id, secret] = []) {
  const headers = id === undefined ? {} : { authorization: `Basic ${btoa(`${id}:${secret}`)}` };
  return fetch(issuer + route, { method: 'POST', headers, body: new URLSearchParams(form) });
}

export function tokenCall(form, client) {
  return formCall('/token', form, client);
}

export function refresh(refreshToken, client) {
  const form = { grant_type: 'refresh_token', refresh_token: refreshToken };
  return tokenCall(client === undefined ? { ...form, client_id: 'app_spa' } : form, client);
}

export async function clientCredentials() {
  return (await tokenCall({ grant_type: 'client_credentials', scope: 'mgpass:admin other' }, ['app_proxy', 'mgpass-proxy-secret'])).json();
}

export function introspect(token, client = newsroom) {
  return formCall('/token/introspect', { token }, client);
}

export function userinfo(token) {
  return fetch(`${issuer}/userinfo`, { headers: { authorization: `Bearer ${token}` } });
}

export async function jwks() {
  return (await (await fetch(`${issuer}/.well-known/jwks.json`)).json()).keys;
}

export async function auditTypes(userId) {
  const { results } = await (await api('GET', `/api/audit?target_id=${userId}`)).json();
  return results.map(({ event_type: type }) => type);
}

export function discover(clientId, authentication) {
  return openid.discovery(new URL(issuer), clientId, undefined, authentication, { execute: [openid.allowInsecureRequests] });
}

export function authorizeAddress(query) {
  const address = new URL(`${issuer}/authorize`);
  const all = { response_type: 'code', redirect_uri: CALLBACK, scope: 'openid profile', ...query };
  for (const [name, value] of Object.entries(all)) address.searchParams.set(name, value);
  return address;
}

export function authorizeRaw(query, headers = {}) {
  return fetch(authorizeAddress(query), { headers, redirect: 'manual' });
}

// Fills in the page's form as a browser would: to the form's own action.
export function submit(page, fields, headers = {}) {
  const action = /<form method="post" action="([^"]+)"/.exec(page)[1].replaceAll('&amp;', '&');
  return fetch(new URL(action, issuer), { method: 'POST', headers, body: new URLSearchParams(fields), redirect: 'manual' });
}

export async function signInOnPage(address, { email, password }) {
  const page = await fetch(address, { redirect: 'manual' });
  assert.equal(page.status, 200);
  const response = await submit(await page.text(), { email, password, remember: 'on' });
  const [cookie] = response.headers.get('set-cookie').split(';');
  assert.match(cookie, /^mgpass_session=.+/);
  return { location: locationOf(response), cookie };
}

export async function postSignIn(fields) {
  const page = await authorizeRaw({ client_id: 'app_spa', ...challenge });
  return submit(await page.text(), fields);
}

export function locationOf(response) {
  assert.equal(response.status, 302);
  return new URL(response.headers.get('location'));
}

export function errorOf(response) {
  return locationOf(response).searchParams.get('error');
}
