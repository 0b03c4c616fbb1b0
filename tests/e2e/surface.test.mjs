// Every way in which Logto lets a user change, through the built Worker: the Experience
// API's steps, the older interaction API, the Account API, links of identities.
//
// Steps: the sandbox in stage dual_write with all reads moved, walk off; each write;
// wait until the outbox is empty; mgPass serves the user with Logto's own bytes.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import * as oidc from 'openid-client';

import { scratch } from '../harness/sandbox/scratch.mjs';
import { Jar, logtoClient, management, managementToken, pause, REDIRECT_URI, SPA, until } from '../harness/sandbox/client.mjs';
import { controlOf, SECRETS, startSandbox } from '../harness/sandbox/sandbox.mjs';

const PASSWORD = 'Jubjub-Bird-9000';

describe('the surface on which users change', () => {
  let sandbox;
  let store;
  let ask;
  let direct;

  before(async () => {
    store = scratch();
    sandbox = await startSandbox({
      persistTo: store.directory, tickMs: 1_000, vars: { WALK: 'off', LOGTO_WEBHOOK_SECRET: 'webhook-s3cret' },
    });
    await sandbox.flag('stage', 'dual_write');
    await sandbox.flag('read_percent', '100');
    const token = await managementToken(`${sandbox.proxy.url}/oidc`);
    ask = management(sandbox.proxy.url, token);
    direct = management(sandbox.logto.url, token);
  });
  after(async () => {
    await sandbox.close();
    store.remove();
  });

  const outbox = async () => {
    const answer = await fetch(`${sandbox.proxy.url}/_proxy/status`, { headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
    return (await answer.json()).outbox;
  };
  const drained = () => until('an empty outbox', async () => (await outbox()).n_open === 0, { withinMs: 20_000 });
  const nServed = async () => (await controlOf(sandbox.mgpass).counters()).byRoute['GET /api/users/:id']?.count ?? 0;
  const userAtLogto = async (id) => (await direct('GET', `/users/${id}`)).json();

  // The read is served by mgPass (counted there) and has Logto's bytes.
  async function equal(id) {
    await drained();
    // Discharged intents fence reads a little longer.
    await pause(2_300);
    const before = await nServed();
    const read = await ask('GET', `/users/${id}`);
    assert.equal(read.text, (await direct('GET', `/users/${id}`)).text);
    assert.ok((await nServed()) > before, 'served by mgPass');
  }

  async function create(body) {
    const answer = await ask('POST', '/users', { password: PASSWORD, ...body });
    assert.equal(answer.status, 200, answer.text);
    return answer.json().id;
  }

  /** A browser that has begun to sign in, with its cookies. */
  async function browser() {
    const origin = sandbox.proxy.url;
    const jar = new Jar();
    const config = await logtoClient(`${origin}/oidc`);
    const verifier = oidc.randomPKCECodeVerifier();
    const state = oidc.randomState();
    const start = oidc.buildAuthorizationUrl(config, {
      redirect_uri: REDIRECT_URI, scope: 'openid profile email phone address custom_data identities offline_access', prompt: 'consent', state,
      code_challenge: await oidc.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
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
      const text = await response.text();
      assert.ok(response.status < 400, `${method} ${url}: ${response.status} ${text}`);
      return { status: response.status, location: response.headers.get('location'), json: () => JSON.parse(text) };
    };
    const codeOf = async (to) => (await controlOf(sandbox.logto).call('GET', `/codes?to=${encodeURIComponent(to)}`)).at(-1).code;
    await call('GET', start.href);
    return {
      call,
      codeOf,
      /** By the Experience API, as far as the identification. */
      async identify(username, password = PASSWORD) {
        await call('PUT', '/api/experience', { interactionEvent: 'SignIn' });
        const verified = await call('POST', '/api/experience/verification/password', { identifier: { type: 'username', value: username }, password });
        await call('POST', '/api/experience/identification', verified.json());
      },
      /** From the submit's answer to tokens. */
      async finish(submitted) {
        let { redirectTo: next } = submitted.json();
        while (!next.startsWith(REDIRECT_URI)) next = (await call('GET', next)).location;
        return oidc.authorizationCodeGrant(config, new URL(next), { pkceCodeVerifier: verifier, expectedState: state });
      },
    };
  }

  test('a profile fulfilled during a sign-in: names, custom data, email, a social identity', async () => {
    const id = await create({ username: 'fulfil', customData: { kept: 1 } });
    const { call, codeOf, identify, finish } = await browser();
    await identify('fulfil');
    await call('POST', '/api/experience/profile', {
      type: 'extraProfile', values: { name: 'Fulfilled', avatar: 'https://cdn.example.test/f.png', customData: { added: [1.5] }, givenName: 'F' },
    });
    const identifier = { type: 'email', value: 'Fulfil@Example.test' };
    const { verificationId } = (await call('POST', '/api/experience/verification/verification-code', { interactionEvent: 'Register', identifier })).json();
    await call('POST', '/api/experience/verification/verification-code/verify', { identifier, verificationId, code: await codeOf(identifier.value) });
    await call('POST', '/api/experience/profile', { type: 'email', verificationId });
    const social = await call('POST', '/api/experience/verification/social/google/verify', { connectorData: { userId: 'g-fulfil', name: 'F' } });
    await call('POST', '/api/experience/profile', { type: 'social', ...social.json() });
    const before = await userAtLogto(id);
    assert.deepEqual([before.name, before.primaryEmail, before.lastSignInAt], [null, null, null], 'staged only');
    await finish(await call('POST', '/api/experience/submit'));
    const now = await userAtLogto(id);
    assert.deepEqual([now.name, now.primaryEmail, now.identities.google.userId], ['Fulfilled', 'Fulfil@Example.test', 'g-fulfil']);
    assert.ok(now.lastSignInAt > 0 && now.applicationId === SPA, 'the quiet ones');
    await equal(id);
  });

  test('a forgotten password', async () => {
    const id = await create({ username: 'forgot', primaryEmail: 'forgot@example.test' });
    await equal(id);
    const { updatedAt } = await userAtLogto(id);
    const { call, codeOf } = await browser();
    const identifier = { type: 'email', value: 'forgot@example.test' };
    await call('PUT', '/api/experience', { interactionEvent: 'ForgotPassword' });
    const { verificationId } = (await call('POST', '/api/experience/verification/verification-code', { interactionEvent: 'ForgotPassword', identifier })).json();
    await call('POST', '/api/experience/verification/verification-code/verify', { identifier, verificationId, code: await codeOf(identifier.value) });
    await call('POST', '/api/experience/identification', { verificationId });
    await call('PUT', '/api/experience/profile/password', { password: 'Tumtum-Tree-1234' });
    assert.equal((await call('POST', '/api/experience/submit')).status, 204);
    assert.ok((await userAtLogto(id)).updatedAt > updatedAt);
    await equal(id);
  });

  test('the Account API: every field that a user may change', async () => {
    const id = await create({ username: 'account', primaryEmail: 'account@example.test' });
    const { call, codeOf, identify, finish } = await browser();
    await identify('account');
    const { access_token: token } = await finish(await call('POST', '/api/experience/submit'));
    const me = async (method, route, body, record) => {
      const answer = await fetch(`${sandbox.proxy.url}/api${route}`, {
        method,
        headers: { authorization: `Bearer ${token}`, ...(record && { 'logto-verification-id': record }), ...(body && { 'content-type': 'application/json' }) },
        body: body && JSON.stringify(body),
      });
      const text = await answer.text();
      assert.ok(answer.status < 300, `${method} ${route}: ${answer.status} ${text}`);
      return text && JSON.parse(text);
    };
    const { verificationRecordId: proof } = await me('POST', '/verifications/password', { password: PASSWORD });
    const proven = async (identifier) => {
      const { verificationRecordId } = await me('POST', '/verifications/verification-code', { identifier });
      await me('POST', '/verifications/verification-code/verify', { identifier, verificationId: verificationRecordId, code: await codeOf(identifier.value) });
      return verificationRecordId;
    };
    const linked = async (connectorId, userId) => {
      const { verificationRecordId } = await me('POST', '/verifications/social', { connectorId, state: 's', redirectUri: REDIRECT_URI });
      await me('POST', '/verifications/social/verify', { verificationRecordId, connectorData: { userId } });
      return verificationRecordId;
    };

    await me('PATCH', '/my-account', { name: 'Account', avatar: 'https://cdn.example.test/a.png', customData: { a: [1, { b: 'é' }] } });
    await equal(id);
    await me('PATCH', '/my-account', { username: 'account_2' }, proof);
    await me('PATCH', '/my-account/profile', { nickname: 'Acc', address: { country: 'GH' } });
    await me('POST', '/my-account/primary-email', { email: 'second@example.test', newIdentifierVerificationRecordId: await proven({ type: 'email', value: 'second@example.test' }) }, proof);
    await me('POST', '/my-account/primary-phone', { phone: '233200000055', newIdentifierVerificationRecordId: await proven({ type: 'phone', value: '233200000055' }) }, proof);
    await equal(id);
    await me('POST', '/my-account/identities', { newIdentifierVerificationRecordId: await linked('google', 'g-one') }, proof);
    await me('POST', '/my-account/identities', { newIdentifierVerificationRecordId: await linked('facebook', 'f-one') }, proof);
    await me('PUT', '/my-account/identities', { newIdentifierVerificationRecordId: await linked('google', 'g-two') }, proof);
    await equal(id);
    await me('DELETE', '/my-account/identities/facebook', undefined, proof);
    await me('POST', '/my-account/password', { password: 'Snicker-Snack-77' }, proof);
    await me('DELETE', '/my-account/primary-email', undefined, proof);
    await me('DELETE', '/my-account/primary-phone', undefined, proof);
    await equal(id);
    const now = await userAtLogto(id);
    assert.deepEqual(
      [now.username, now.primaryEmail, now.primaryPhone, now.identities.google.userId, now.profile.nickname, 'facebook' in now.identities],
      ['account_2', null, null, 'g-two', 'Acc', false],
    );
  });

  test('the Management API: identities linked, replaced, unlinked; roles change nothing that is mapped', async () => {
    const id = await create({ username: 'linked' });
    const row = () => sandbox.databases.mgpass.prepare('SELECT provider, provider_user_id FROM social_identities WHERE user_id = ? ORDER BY provider').bind(id).all();
    assert.equal((await ask('POST', `/users/${id}/identities`, { connectorId: 'google', connectorData: { userId: 'g-10' } })).status, 200);
    await equal(id);
    assert.equal((await ask('PUT', `/users/${id}/identities/google`, { userId: 'g-11' })).status, 200);
    assert.equal((await ask('PUT', `/users/${id}/identities/facebook`, { userId: 'f-11' })).status, 201);
    await equal(id);
    assert.deepEqual((await row()).results.map(({ provider_user_id: at }) => at), ['f-11', 'g-11']);
    assert.equal((await ask('DELETE', `/users/${id}/identities/google`)).status, 200);
    await equal(id);
    assert.deepEqual((await row()).results.map(({ provider }) => provider), ['facebook']);
    const truth = (await direct('GET', `/users/${id}`)).text;
    const { id: role } = (await ask('POST', '/roles', { name: 'editor', description: 'e' })).json();
    assert.equal((await ask('POST', `/users/${id}/roles`, { roleIds: [role] })).status, 201);
    assert.equal((await direct('GET', `/users/${id}`)).text, truth);
    assert.equal((await outbox()).n_open, 0, 'not recorded');
  });

  test('the older interaction API: sign-in, profile and registration, named by the webhook', async () => {
    const hook = sandbox.logto.webhooks.add({ url: `${sandbox.proxy.url}/_proxy/hooks/logto`, signingKey: 'webhook-s3cret' });
    try {
      const id = await create({ username: 'older' });
      const first = await browser();
      await first.call('PUT', '/api/interaction', { event: 'SignIn', identifier: { username: 'older', password: PASSWORD } });
      await first.call('PATCH', '/api/interaction/profile', { email: 'older@example.test' });
      assert.equal((await userAtLogto(id)).primaryEmail, null, 'staged only');
      await first.finish(await first.call('POST', '/api/interaction/submit'));
      const now = await userAtLogto(id);
      assert.equal(now.primaryEmail, 'older@example.test');
      assert.ok(now.lastSignInAt > 0);
      await equal(id);

      const second = await browser();
      await second.call('PUT', '/api/interaction', { event: 'Register', profile: { username: 'older_2', password: PASSWORD } });
      const tokens = await second.finish(await second.call('POST', '/api/interaction/submit'));
      await equal(tokens.claims().sub);
    } finally {
      sandbox.logto.webhooks.delete(hook.id);
    }
  });
});
