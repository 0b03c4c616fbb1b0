// Writes as loosely spelled as Logto takes them, through the built Worker, before an origin that is closed to
// everybody else: each is recorded under its user, or is a gap.
//
// Steps: the sandbox in stage dual_write, Logto's origin closed; each spelling once; wait until the outbox is empty;
// mgPass has the change. Then what nobody can name: the epoch rises.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { scratch } from '../harness/sandbox/scratch.mjs';
import { REDIRECT_URI, SPA, Jar, managementToken, signIn, until } from '../harness/sandbox/client.mjs';
import { SECRETS, controlOf, startSandbox } from '../harness/sandbox/sandbox.mjs';

const json = { 'content-type': 'application/json' };

describe('acknowledged means known, before a closed origin', () => {
  let sandbox;
  let store;
  let origin;
  before(async () => {
    store = scratch();
    sandbox = await startSandbox({
      persistTo: store.directory, vars: { WALK: 'off', ORIGIN_SECRET: 'origin-secret' }, logto: { originSecret: 'origin-secret' }, tickMs: 1_000,
    });
    origin = sandbox.proxy.url;
    await sandbox.flag('stage', 'dual_write');
  });
  after(async () => {
    await sandbox.close();
    store.remove();
  });

  const status = async () => (await fetch(`${origin}/_proxy/status`, { headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } })).json();
  const mgpassRow = (id) => sandbox.databases.mgpass.prepare('SELECT * FROM users WHERE id = ?').bind(id).first();
  const mirrored = (id, column, value) => until(`${column} ${value}`, async () => (await mgpassRow(id))?.[column] === value, { withinMs: 20_000 });
  const call = async (method, path, { headers = {}, body } = {}) => {
    const answer = await fetch(origin + path, { method, redirect: 'manual', headers: { ...headers, ...(body && json) }, body: body && JSON.stringify(body) });
    return { status: answer.status, headers: answer.headers, text: await answer.text() };
  };
  let n = 0;
  const registered = async () => {
    n += 1;
    const person = { origin, issuer: `${origin}/oidc`, username: `person_${n}`, password: 'Jubjub-Bird-9000' };
    const { tokens } = await signIn({ ...person, register: true });
    return { ...person, id: tokens.claims().sub, opaque: tokens.access_token };
  };

  test('the origin lets nobody else in', async () => {
    assert.equal((await fetch(`${sandbox.logto.url}/oidc/jwks`)).status, 403);
    assert.equal((await call('GET', '/oidc/jwks')).status, 200);
  });

  test('a registration, with the proxy\'s own calls to a closed origin', async () => {
    const { id } = await registered();
    await mirrored(id, 'name', `person_${n}`);
    assert.ok((await mgpassRow(id)).last_sign_in_at);
  });

  test('any character after Bearer', async () => {
    const { id, opaque } = await registered();
    const token = await managementToken(`${origin}/oidc`);
    for (const [path, authorization, name] of [
      [`/api/users/${id}`, `Bearer:${token}`, 'By colon'],
      [`/api/users/${id}`, `Bearer\t${token}`, 'By tab'],
      ['/api/my-account', `Bearer:${opaque}`, 'Own colon'],
    ]) {
      assert.equal((await call('PATCH', path, { headers: { authorization }, body: { name } })).status, 200, name);
      await mirrored(id, 'name', name);
    }
    assert.equal((await status()).outbox.unrecorded, 0);
  });

  test('an account whose grant has ended', async () => {
    const { id, opaque } = await registered();
    await controlOf(sandbox.logto).call('DELETE', `/grants?user=${id}`);
    const headers = { authorization: `Bearer ${opaque}` };
    assert.equal((await call('GET', '/oidc/me', { headers })).status, 401);
    assert.equal((await call('PATCH', '/api/my-account', { headers, body: { name: 'Without a grant' } })).status, 200);
    await mirrored(id, 'name', 'Without a grant');
  });

  /** A browser that has signed in and stands before the consent. */
  async function atConsent() {
    n += 1;
    const jar = new Jar();
    const step = async (method, path, body) => {
      const url = new URL(path, origin).href;
      const answer = await fetch(url, { method, redirect: 'manual', headers: { cookie: jar.header(url), ...(body && json) }, body: body && JSON.stringify(body) });
      jar.take(answer);
      assert.ok(answer.status < 400, `${method} ${path}: ${answer.status}`);
      return answer;
    };
    const authorize = new URLSearchParams({
      client_id: SPA, redirect_uri: REDIRECT_URI, response_type: 'code', scope: 'openid profile', prompt: 'consent',
      code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256', state: 'x',
    });
    await step('GET', `/oidc/auth?${authorize}`);
    await step('PUT', '/api/experience', { interactionEvent: 'Register' });
    await step('POST', '/api/experience/profile', { type: 'username', value: `person_${n}` });
    await step('POST', '/api/experience/profile', { type: 'password', value: 'Jubjub-Bird-9000' });
    await step('POST', '/api/experience/identification', {});
    const { redirectTo } = await (await step('POST', '/api/experience/submit')).json();
    await step('GET', redirectTo);
    return { jar, id: sandbox.logto.users.findByIdentifier({ type: 'username', value: `person_${n}` }).id };
  }

  test('consent by any method, with quoted cookies, below its page', async () => {
    for (const [method, path] of [['HEAD', '/consent'], ['POST', '/consent'], ['GET', '/consent/x']]) {
      const { jar, id } = await atConsent();
      const cookie = jar.header(`${origin}/`).replace(/(_interaction(?:\.sig)?)=([^;]*)/g, '$1="$2"');
      const answer = await call(method, path, { headers: { cookie } });
      assert.equal(answer.status, 302, `${method} ${path}`);
      assert.match(answer.headers.get('location'), /\/oidc\/auth\//);
      assert.equal(sandbox.logto.users.get(id).applicationId, SPA);
      const intent = await sandbox.databases.proxy.prepare("SELECT subject FROM intents WHERE operation = 'consent.page' AND subject = ?").bind(id).first();
      assert.equal(intent?.subject, id, `${method} ${path}`);
    }
  });

  test('made-up cookies leave nothing behind', async () => {
    await until('an empty outbox', async () => (await status()).outbox.n_open === 0, { withinMs: 20_000 });
    const rows = async () => (await sandbox.databases.proxy.prepare('SELECT count(*) AS n FROM intents').first()).n;
    const before = await rows();
    const headers = { cookie: '_interaction=made-up; _interaction.sig=made-up' };
    for (const [method, path] of [['GET', '/consent'], ['POST', '/api/experience/submit'], ['POST', '/api/experience/identification'], ['POST', '/api/interaction/submit']]) {
      for (let i = 0; i < 5; i += 1) assert.ok((await call(method, path, { headers, body: method === 'POST' ? {} : undefined })).status >= 302);
    }
    const { n_open: open, n_unresolved: unresolved, unrecorded } = (await status()).outbox;
    assert.deepEqual([open, unresolved ?? 0, unrecorded], [0, 0, 0]);
    assert.ok(await rows() <= before);
  });

  test('a sign-in by the older API is a gap, and a registration is found by the listing', async () => {
    const person = await registered();
    const begun = async (body) => {
      const jar = new Jar();
      const authorize = new URLSearchParams({
        client_id: SPA, redirect_uri: REDIRECT_URI, response_type: 'code', scope: 'openid', prompt: 'consent',
        code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256', state: 'x',
      });
      const answer = await fetch(`${origin}/oidc/auth?${authorize}`, { redirect: 'manual' });
      jar.take(answer);
      const headers = { cookie: jar.header(`${origin}/`) };
      assert.equal((await call('PUT', '/api/interaction', { headers, body })).status, 204);
      return headers;
    };
    const { epoch } = (await status()).outbox;
    const signingIn = await begun({ event: 'SignIn', identifier: { username: person.username, password: person.password } });
    assert.equal((await call('POST', '/api/interaction/submit', { headers: signingIn })).status, 200);
    assert.equal((await status()).outbox.epoch, epoch + 1);
    const registering = await begun({ event: 'Register', profile: { username: 'older_1', password: 'Jubjub-Bird-9000' } });
    assert.equal((await call('POST', '/api/interaction/submit', { headers: registering })).status, 200);
    const { id } = sandbox.logto.users.findByIdentifier({ type: 'username', value: 'older_1' });
    await mirrored(id, 'name', 'older_1');
  });
});
