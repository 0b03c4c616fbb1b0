// Sign-in flows, tokens and the Account API against the recorded exchanges.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Jar, M2M, SPA, WEB, exchangesOf, sample } from './client.mjs';
import { authorizeUrl, basic, flowRewriter, flowState, form, json, recorded, replay, signIn, started } from './flows.mjs';

describe('Experience and tokens', () => {
  let server;
  before(async () => { server = await recorded(); });
  after(() => server.logto.close());

  test('register, sign in, refresh, reuse, userinfo, silent authorize, submit twice', async () => {
    const { ask, logto } = server;
    const gzip = { 'accept-encoding': 'gzip, deflate' };
    const compressed = (request) => ask({ ...request, headers: { ...gzip, ...request.headers } });
    const first = flowState();
    await replay(compressed, exchangesOf('experience-register'), {
      rewrite: flowRewriter(first),
      onAnswer: (answer, { name, response }) => {
        first.onAnswer(answer);
        // Bodies without anything volatile have the recorded ETag itself.
        if (['sign-in-exp', 'authorize', 'GET /api/experience/interaction'].includes(name)) assert.equal(answer.headers.etag, response.headers.etag, name);
      },
    });
    const [user] = [...logto.users.values()];
    assert.equal(user.username, 'bob_1ae441');
    assert.equal(user.applicationId, SPA);
    assert.ok(user.lastSignInAt >= user.createdAt && user.updatedAt >= user.lastSignInAt);

    const jar = new Jar();
    const second = flowState();
    let tokens;
    await replay(compressed, exchangesOf('experience-sign-in'), {
      jar, rewrite: flowRewriter(second), onAnswer: (answer) => { second.onAnswer(answer); tokens = answer.body; },
    });

    const decoded = sample('tokens-decoded');
    const parts = (token) => token.split('.').slice(0, 2).map((part) => JSON.parse(Buffer.from(part, 'base64url')));
    for (const [token, expected] of [[tokens.id_token, decoded.id_token], [tokens.access_token, decoded.access_token_for_resource]]) {
      const [header, payload] = parts(token);
      assert.deepEqual({ ...header, kid: '' }, { ...expected.header, kid: '' });
      assert.deepEqual(Object.keys(header), Object.keys(expected.header));
      assert.deepEqual(Object.keys(payload), Object.keys(expected.payload));
      assert.deepEqual([payload.iss, payload.aud, payload.scope], [expected.payload.iss, expected.payload.aud, expected.payload.scope]);
    }
    const [, idToken] = parts(tokens.id_token);
    assert.equal(idToken.at_hash, createHash('sha384').update(tokens.access_token).digest().subarray(0, 24).toString('base64url'));

    let opaque;
    const withToken = (request) => {
      if (request.body?.refresh_token) request.body.refresh_token = tokens.refresh_token;
      if (request.headers.authorization) request.headers.authorization = `Bearer ${request.headers.authorization === 'Bearer (jwt)' ? tokens.access_token : opaque}`;
      return request;
    };
    const keep = (answer) => { opaque = answer.body.access_token ?? opaque; };
    await replay(compressed, exchangesOf('oidc-token-refresh-opaque'), { rewrite: withToken, onAnswer: keep });
    const firstOpaque = opaque;
    await replay(compressed, exchangesOf('error-oidc-refresh-reuse'), { rewrite: withToken, onAnswer: keep });
    assert.notEqual(opaque, firstOpaque);
    await replay(compressed, exchangesOf('oidc-userinfo'), { rewrite: withToken });
    await replay(compressed, exchangesOf('error-oidc-userinfo-with-resource-jwt'), {
      rewrite: withToken, onAnswer: (answer, { response }) => assert.equal(answer.headers.etag, response.headers.etag),
    });
    await replay(compressed, exchangesOf('oidc-authorize-with-live-session'), { jar });
    await replay(compressed, exchangesOf('error-experience-submit-twice'), { jar });
    await replay(compressed, exchangesOf('oidc-end-session').map((exchange) => {
      exchange.request.url = exchange.request.url.replace(WEB, SPA);
      return exchange;
    }), { jar });
  });

  test('a refresh token is refused after the leeway, and its grant dies', async () => {
    const { ask, logto } = server;
    const flow = await signIn(logto, { username: 'bob_1ae441', password: 'Jubjub-Bird-9000', clientId: SPA, ask });
    const refresh = (token) => ask({ method: 'POST', url: '/oidc/token', headers: form, body: { grant_type: 'refresh_token', refresh_token: token, client_id: SPA } });
    const one = await refresh(flow.tokens.refresh_token);
    assert.equal(one.status, 200);
    const realNow = Date.now;
    try {
      Date.now = () => realNow() + 2_900;
      assert.equal((await refresh(flow.tokens.refresh_token)).status, 200, 'within the leeway');
      Date.now = () => realNow() + 3_100;
      const late = await refresh(flow.tokens.refresh_token);
      assert.equal(late.status, 400);
      assert.equal(late.body.code, 'oidc.invalid_grant');
      assert.equal((await refresh(one.body.refresh_token)).status, 400, 'the rotated token went with the grant');
    } finally {
      Date.now = realNow;
    }
  });

  test('a flow that is split across backends or loses its cookies', async () => {
    const exchanges = exchangesOf('error-split-flow');
    let jar = new Jar();
    for (const [index, exchange] of exchanges.entries()) {
      // Each authorize starts a flow of its own; the tampered signature is put in where it was recorded.
      if (exchange.name === 'authorize' || index === 0 || index >= 5) jar = new Jar();
      if (index === 2) jar.set('_interaction.sig', 'tampered');
      await replay(server.ask, [exchange], {
        jar,
        onAnswer: (answer) => {
          if (['unknown access token', 'resume unknown interaction'].includes(exchange.name)) assert.equal(answer.headers.etag, exchange.response.headers.etag);
        },
      });
    }
  });

  test('misc errors', async () => {
    const { logto, ask } = server;
    logto.users.create({ username: 'dave_a1a020', isSuspended: true, password: { digest: createHash('sha256').update('Vorpal-Blade-42').digest('hex'), algorithm: 'SHA256' } });
    const signInJar = await started(ask, 'SignIn');
    const registerJar = await started(ask, 'Register');
    for (const [index, exchange] of exchangesOf('error-experience-misc').entries()) await replay(ask, [exchange], { jar: index < 4 ? signInJar : registerJar });
  });

  test('the header or the query picks the interaction; a foreign one is refused', async () => {
    const { ask } = server;
    const jar = new Jar();
    for (const clientId of [SPA, WEB]) {
      const answer = await ask({ url: authorizeUrl(clientId), headers: { cookie: jar.header } });
      jar.take(answer.cookies);
    }
    const map = JSON.parse(jar.get('_interaction'));
    assert.deepEqual(Object.keys(map), [SPA, WEB, '_legacy']);
    assert.equal(map._legacy, map[WEB]);
    const put = (headers, query = '') => ask({ method: 'PUT', url: `/api/experience${query}`, headers: { ...json, cookie: jar.header, ...headers }, body: { interactionEvent: 'SignIn' } });
    assert.equal((await put({ 'logto-app-id': SPA })).status, 204);
    const state = (headers, query = '') => ask({ url: `/api/experience/interaction${query}`, headers: { cookie: jar.header, ...headers } });
    assert.equal((await state({}, `?app_id=${SPA}`)).status, 200);
    assert.equal((await state({})).body.code, 'session.interaction_not_found', '_legacy is the other client, not started yet');
    const foreign = await put({ 'logto-app-id': M2M });
    assert.equal(foreign.status, 400);
    assert.equal(foreign.body.error_description, 'interaction client_id mismatch');
  });

  test('forgotten password', async () => {
    const { logto, ask } = server;
    logto.users.create({ username: 'carol_1ae441', primaryEmail: 'carol.1ae441@example.test' });
    const state = flowState();
    const follow = flowRewriter(state);
    await replay(ask, exchangesOf('experience-forgot-password'), {
      rewrite: (request) => {
        if (request.body?.code === '997371') request.body.code = logto.codes.list().at(-1).code;
        return follow(request);
      },
      onAnswer: state.onAnswer,
    });
    const flow = await signIn(logto, { username: 'carol_1ae441', password: 'Frumious-Bander-55', clientId: SPA, ask });
    assert.ok(flow.tokens.access_token);
  });

  test('the order of calls and their statuses as a browser makes them', async () => {
    for (const name of ['browser-register', 'browser-sign-in']) {
      const { calls } = sample(name);
      const jar = new Jar();
      const state = flowState();
      for (const call of calls.filter(({ url }) => url.startsWith('/'))) {
        const url = state.location && /\/oidc\/auth\/|\/consent/.test(call.url) && !call.url.includes('?client_id') ? state.location : call.url;
        const body = call.body?.includes('verificationId') ? JSON.stringify({ verificationId: state.verificationId }) : call.body;
        const answer = await server.ask({
          method: call.method, url, body, headers: { cookie: jar.header, ...(call.logtoAppId ? { 'logto-app-id': call.logtoAppId } : {}), ...(body ? json : {}) },
        });
        jar.take(answer.cookies);
        state.onAnswer(answer);
        assert.equal(answer.status, call.status, `${name} ${call.method} ${call.url}`);
      }
    }
  });

  test('introspection and revocation', async () => {
    const { logto, ask } = server;
    const other = await signIn(logto, { username: 'bob_1ae441', password: 'Jubjub-Bird-9000', clientId: SPA, ask, scope: 'openid profile email offline_access custom_data identities address phone urn:logto:scope:organizations' });
    const own = await signIn(logto, { username: 'bob_1ae441', password: 'Jubjub-Bird-9000', clientId: WEB, secret: 'sample-secret-web', ask, scope: 'openid profile email offline_access custom_data identities roles urn:logto:scope:organizations' });
    const bySample = {
      qRipuzNNJBcu9XNNb7nfbdTuDyHbHVTGZF4qsLv3MNk: own.tokens.access_token,
      eprKvfDKJ504QufvYn33ZYu48d_hJmFZWUzrXqHOW1C: other.tokens.access_token,
      U4NhzPFNmLloBrQtGNR5fxwfMQnhpgONDz1Lv7qOVZD: own.tokens.refresh_token,
    };
    await replay(ask, exchangesOf('oidc-introspection-revocation'), {
      rewrite: (request) => { request.body.token = bySample[request.body.token]; return request; },
    });
  });

  test('introspection by a public client: of its own tokens only', async () => {
    const { logto, ask } = server;
    const person = { username: 'bob_1ae441', password: 'Jubjub-Bird-9000', ask };
    const own = await signIn(logto, { ...person, clientId: SPA });
    const other = await signIn(logto, { ...person, clientId: WEB, secret: 'sample-secret-web' });
    const introspect = async (body) => (await ask({
      method: 'POST', url: '/oidc/token/introspection', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body,
    }));
    const of = async (token, more) => introspect({ client_id: SPA, token, ...more });
    assert.equal((await of(own.tokens.access_token)).body.active, true);
    assert.deepEqual((await of(other.tokens.access_token)).body, { active: false });
    assert.deepEqual((await of('none')).body, { active: false });
    assert.deepEqual((await of('none', { client_secret: '' })).body, { active: false });
    assert.equal((await of('none', { client_secret: 'guess' })).status, 401);
    assert.equal((await introspect({ client_id: WEB, token: 'none' })).status, 401);
    assert.equal((await introspect({ client_id: 'nobody', token: 'none' })).status, 401);
  });

  test('Account API', async () => {
    const { logto, ask } = server;
    const user = logto.users.findByIdentifier({ type: 'username', value: 'bob_1ae441' });
    const scope = 'openid profile email phone address custom_data identities offline_access';
    const { tokens } = await signIn(logto, { username: 'bob_1ae441', password: 'Jubjub-Bird-9000', clientId: SPA, scope, ask });
    let record;
    await replay(ask, exchangesOf('account-api'), {
      rewrite: (request) => {
        request.headers.authorization = `Bearer ${tokens.access_token}`;
        if (request.headers['logto-verification-id']) request.headers['logto-verification-id'] = record;
        return request;
      },
      onAnswer: (answer) => { record = answer.body?.verificationRecordId ?? record; },
    });
    assert.equal(logto.users.get(user.id).profile.nickname, 'Bobby');
    const flow = await signIn(logto, { username: 'bob_1ae441', password: 'Tumtum-Tree-1234', clientId: SPA, ask });
    assert.ok(flow.tokens);
    const { body } = await ask({ method: 'POST', url: '/oidc/token', headers: { ...form, authorization: basic(M2M, 'sample-secret-proxy-m2m') }, body: { grant_type: 'client_credentials', resource: 'https://default.logto.app/api', scope: 'all' } });
    assert.equal((await ask({ url: '/api/my-account', headers: { authorization: `Bearer ${body.access_token}` } })).status, 401);
  });

  test('behind a proxy: absolute URLs and Secure cookies follow the forwarded host', async () => {
    const { logto, ask } = server;
    const dave = logto.users.findByIdentifier({ type: 'username', value: 'dave_a1a020' });
    logto.users.update(dave.id, { isSuspended: false });
    const state = flowState();
    await replay(ask, exchangesOf('forwarded-sign-in'), {
      rewrite: flowRewriter(state), onAnswer: state.onAnswer, skip: ({ name }) => name.startsWith('unknown session'),
    });
    await replay(ask, exchangesOf('forwarded-sign-in').filter(({ name }) => name.startsWith('unknown session')));
  });
});
