// Passwords that are carried, through the built Worker and to mgPass's own page.
//
//  1. without a decision and a check nothing is carried; `dwp carry check` on a probe account
//     is good, and a person's look into the mailbox switches it on
//  2. a sign-in at Logto: the same password signs in at mgPass's page
//  3. a change: the new one signs in there, the old one does not
//  4. a reset around what the proxy can see of passwords: the old one is void
//  5. who was not carried is asked by mgPass's page to set a password (road 1)
//  6. the plaintext stands in no line of the log and in no row of the proxy

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { scratch } from '../harness/sandbox/scratch.mjs';
import { management, managementToken, REDIRECT_URI, signIn, until } from '../harness/sandbox/client.mjs';
import { controlOf, PROBE_VARS, SECRETS, startSandbox } from '../harness/sandbox/sandbox.mjs';

const [OLD, NEW, LAST] = ['canary-Old-password-1', 'canary-New-password-2', 'canary-Last-password-3'];
const place = scratch();
const lines = [];

let sandbox;
let api;
let user;

async function operator(method, path) {
  const response = await fetch(`${sandbox.proxy.url}/_proxy/${path}`, { method, headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
  return { status: response.status, body: await response.json() };
}

async function created(username, password) {
  const answer = await api('POST', '/users', { username, primaryEmail: `${username}@example.test`, ...(password && { password }) });
  assert.equal(answer.status, 200, answer.text);
  const { id } = answer.json();
  const there = () => sandbox.databases.mgpass.prepare('SELECT id FROM users WHERE id = ?').bind(id).first();
  await until('the mirror has them', there, { withinMs: 20_000 });
  return id;
}

// mgPass's hosted page, as a browser without a session.
async function atMgpass(fields) {
  const query = new URLSearchParams({
    response_type: 'code', client_id: 'app_newsroom', redirect_uri: REDIRECT_URI, scope: 'openid', state: 's',
    code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256',
  });
  const address = `${sandbox.mgpass.url}/authorize?${query}`;
  const response = await fetch(address, { method: 'POST', body: new URLSearchParams(fields), redirect: 'manual' });
  return { status: response.status, text: await response.text() };
}

const signsIn = async (username, password) => (await atMgpass({ email: `${username}@example.test`, password })).status === 302;
const stateOf = async (id) => (await sandbox.databases.proxy.prepare('SELECT state FROM passwords WHERE subject = ?').bind(id).first())?.state;
const atLogto = (username, password) => signIn({ origin: sandbox.proxy.url, issuer: `${sandbox.proxy.url}/oidc`, username, password });

before(async () => {
  sandbox = await startSandbox({ persistTo: place.directory, onLog: (line) => lines.push(line) });
  await sandbox.flag('stage', 'dual_write');
  api = management(sandbox.proxy.url, await managementToken(`${sandbox.proxy.url}/oidc`));
  user = await created('kofi', OLD);
  const probe = await created('probe');
  await sandbox.deploy({ PASSWORD_CARRY: 'on', ...PROBE_VARS, PROBE_USER: probe });
});

after(async () => {
  await sandbox?.close();
  place.remove();
});

describe('a password', () => {
  test('stays where it is without a decision and a check', async () => {
    await atLogto('kofi', OLD);
    assert.equal(await stateOf(user), undefined);
    assert.equal((await operator('POST', 'carry/allow?by=Anna&reason=DPIA-7')).status, 200);
    const { body } = await operator('POST', 'carry/check');
    assert.deepEqual(Object.entries(body.facts).filter(([, outcome]) => outcome !== 'ok' && outcome !== true), []);
    assert.equal((await operator('POST', 'carry/confirm?by=Anna')).body.may_carry, true);
  });

  test('is carried behind a sign-in, and signs in at mgPass', async () => {
    // A try that was not let begin keeps its isolate from the next for some seconds.
    const carried = async () => (await atLogto('kofi', OLD)) && (await stateOf(user)) === 'carried';
    await until('carried', carried, { withinMs: 20_000, everyMs: 1_000 });
    assert.equal(await signsIn('kofi', 'canary-wrong-one'), false);
    assert.equal(await signsIn('kofi', OLD), true);
  });

  test('that is changed takes the old one along', async () => {
    const other = await created('yaa', OLD);
    await until('a new user is carried, too', async () => (await stateOf(other)) === 'carried', { withinMs: 20_000 });
    assert.equal((await api('PATCH', `/users/${other}/password`, { password: NEW })).status, 200);
    await until('the new one signs in', () => signsIn('yaa', NEW), { withinMs: 20_000 });
    assert.equal(await signsIn('yaa', OLD), false);
    // mgPass has seen a sign-in, so the next change is not carried; the old one goes all the same.
    assert.equal((await api('PATCH', `/users/${other}/password`, { password: LAST })).status, 200);
    await until('void', async () => !(await signsIn('yaa', NEW)), { withinMs: 20_000 });
    assert.equal(await signsIn('yaa', LAST), false);
    await until('noted', async () => (await stateOf(other)) === 'none', { withinMs: 20_000 });
  });

  test('that was never carried is asked for by mgPass', async () => {
    await created('esi');
    const page = await atMgpass({ email: 'esi@example.test', password: 'whatever' });
    assert.match(page.text, /name="new_password"/);
    const [{ code }] = await controlOf(sandbox.mgpass).call('GET', '/mails');
    const done = await atMgpass({ email: 'esi@example.test', code, new_password: 'a-password-of-her-own' });
    assert.equal(done.status, 302);
    const { body } = await operator('GET', 'import/readiness?count=true');
    assert.equal(body.readiness.prompted, 1);
    assert.equal(body.readiness.carried, 1);
  });

  test('is in no line of the log and in no row', async () => {
    assert.ok(lines.length > 0);
    assert.deepEqual(lines.filter((line) => line.includes('canary')), []);
    for (const name of ['proxy', 'mgpass', 'metrics']) {
      const database = sandbox.databases[name];
      const { results: tables } = await database.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\'").all();
      for (const { name: table } of tables) {
        const { results } = await database.prepare(`SELECT * FROM ${table}`).all();
        assert.equal(JSON.stringify(results).includes('canary'), false, `${name}.${table}`);
      }
    }
  });
});
