// The stand-in seen from outside: a real OIDC client, the router's rules, generated users, and the front's faults.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import * as oidc from 'openid-client';
import { startFront } from '../../front.mjs';
import { startLogto } from '../main.mjs';
import { Jar, send } from './client.mjs';
import { basic, form, json, m2m, signIn, spa } from './flows.mjs';

describe('openid-client', () => {
  for (const alg of ['ES384', 'RS256']) {
    test(`code flow with PKCE and ${alg}: register, ID token validated, refresh, userinfo`, async (t) => {
      const logto = await startLogto({ alg });
      t.after(() => logto.close());
      const config = await oidc.discovery(new URL(logto.issuer), spa.id, { id_token_signed_response_alg: alg }, oidc.None(), { execute: [oidc.allowInsecureRequests] });
      const verifier = oidc.randomPKCECodeVerifier();
      const [state, nonce] = [oidc.randomState(), oidc.randomNonce()];
      const url = oidc.buildAuthorizationUrl(config, {
        redirect_uri: 'http://127.0.0.1:41234/callback', scope: 'openid profile offline_access', prompt: 'consent', first_screen: 'register',
        code_challenge: await oidc.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', state, nonce,
      });
      const jar = new Jar();
      const call = async (method, target, body) => {
        const answer = await send(logto.url, { method, url: target, headers: { cookie: jar.header, ...(body ? json : {}) }, body });
        jar.take(answer.cookies);
        return answer;
      };
      assert.match((await call('GET', url.href)).headers.location, /^\/register\?/);
      await call('PUT', '/api/experience', { interactionEvent: 'Register' });
      await call('POST', '/api/experience/profile', { type: 'username', value: 'olga' });
      await call('POST', '/api/experience/profile', { type: 'password', value: 'Jubjub-Bird-9000' });
      await call('POST', '/api/experience/profile', { type: 'extraProfile', values: { name: 'Olga', givenName: 'O' } });
      await call('POST', '/api/experience/identification', {});
      // Staged after the row exists: written at submit.
      await call('POST', '/api/experience/profile', { type: 'extraProfile', values: { nickname: 'Ol' } });
      assert.deepEqual(logto.users.findByIdentifier({ type: 'username', value: 'olga' }).profile, { givenName: 'O' });
      let location = (await call('POST', '/api/experience/submit')).body.redirectTo;
      while (!location.startsWith('http://127.0.0.1:41234/')) location = (await call('GET', location)).headers.location;
      const tokens = await oidc.authorizationCodeGrant(config, new URL(location), { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true });
      const claims = tokens.claims();
      const user = logto.users.findByIdentifier({ type: 'username', value: 'olga' });
      assert.deepEqual([claims.sub, claims.name, claims.given_name, claims.nickname, claims.updated_at], [user.id, 'Olga', 'O', 'Ol', user.updatedAt]);
      const { protectedHeader } = await jwtVerify(tokens.id_token, createRemoteJWKSet(new URL(`${logto.issuer}/jwks`)), { issuer: logto.issuer, audience: spa.id });
      assert.equal(protectedHeader.alg, alg);
      assert.equal(tokens.access_token.length, 43);
      const refreshed = await oidc.refreshTokenGrant(config, tokens.refresh_token);
      assert.notEqual(refreshed.refresh_token, tokens.refresh_token);
      assert.equal((await oidc.fetchUserInfo(config, refreshed.access_token, user.id)).username, 'olga');
      const scoped = await oidc.clientCredentialsGrant(
        await oidc.discovery(new URL(logto.issuer), m2m.id, m2m.secret, oidc.ClientSecretBasic(m2m.secret), { execute: [oidc.allowInsecureRequests] }),
        { resource: 'https://default.logto.app/api', scope: 'all' },
      );
      assert.equal(scoped.scope, 'all');
    });
  }
});

test('the token endpoint takes JSON, and parse_error=false gives the plain OAuth error', async (t) => {
  const logto = await startLogto();
  t.after(() => logto.close());
  const ask = (url, body) => send(logto.url, { method: 'POST', url, headers: { ...json, authorization: basic(m2m.id, m2m.secret) }, body });
  const { body } = await ask('/oidc/token', { grant_type: 'client_credentials', resource: 'https://default.logto.app/api', scope: 'all' });
  assert.deepEqual(Object.keys(body), ['access_token', 'expires_in', 'token_type', 'scope']);
  const wrong = { grant_type: 'refresh_token', refresh_token: 'x' };
  const plain = await ask('/oidc/token?parse_error=false', wrong);
  assert.deepEqual(Object.keys(plain.body), ['error', 'error_description']);
  assert.equal((await ask('/oidc/token', wrong)).body.code, `oidc.${plain.body.error}`);
});

const managementToken = async (logto) => {
  const { body } = await send(logto.url, {
    method: 'POST', url: '/oidc/token', headers: { ...form, authorization: basic(m2m.id, m2m.secret) },
    body: { grant_type: 'client_credentials', resource: 'https://default.logto.app/api', scope: 'all' },
  });
  return { authorization: `Bearer ${body.access_token}` };
};

describe('router', () => {
  let logto;
  let bearer;
  before(async () => {
    logto = await startLogto();
    bearer = await managementToken(logto);
  });
  after(() => logto.close());
  const ask = (method, url, body) => send(logto.url, { method, url, headers: { ...bearer, ...(body ? json : {}) }, body });

  test('below the prefix case does not count, a trailing slash is allowed, parameters are decoded', async () => {
    const user = logto.users.create({ name: 'before' });
    const encoded = `%${user.id.charCodeAt(0).toString(16)}${user.id.slice(1)}`;
    for (const [path, name] of [[`/api/Users/${user.id}/`, 'one'], [`/api/USERS/${encoded}`, 'two']]) {
      const answer = await ask('PATCH', path, { name });
      assert.deepEqual([answer.status, logto.users.get(user.id).name], [200, name]);
    }
    const { tokens } = await signIn(logto, { username: 'rita', password: 'Jubjub-Bird-9000', register: true, paths: (path) => path.replace('experience/identification', 'Experience/Identification/') });
    assert.ok(tokens.access_token);
    assert.equal((await send(logto.url, { url: '/oidc/JWKS/' })).status, 200);
  });

  test('prefixes are case-sensitive; routing 404 is text, entity 404 is JSON', async () => {
    const user = logto.users.create({ name: 'untouched' });
    for (const path of [`/API/users/${user.id}`, `//api/users/${user.id}`, `/api//users/${user.id}`, `/api/users/${user.id}//`, '/api/no-such-route', '/Api', '/apix/users']) {
      const answer = await ask('PATCH', path, { name: 'changed' });
      assert.deepEqual([answer.status, answer.text, answer.headers['content-type']], [404, 'Not Found', 'text/plain; charset=utf-8'], path);
    }
    for (const path of ['/API/users', '//api/users']) assert.equal((await ask('GET', path)).status, 404, path);
    assert.equal(logto.users.get(user.id).name, 'untouched');
    const missing = await ask('GET', '/api/users/no-such-id');
    assert.deepEqual([missing.status, missing.body.code], [404, 'entity.not_found']);
    assert.equal((await ask('PUT', '/api/users', {})).status, 405);
    const page = await ask('GET', '/some/page');
    assert.deepEqual([page.status, page.headers['logto-static-package']], [200, 'experience']);
  });
});

describe('control port', () => {
  test('rows come in with second factors and SSO identities, all of them or none', async (t) => {
    const logto = await startLogto();
    t.after(() => logto.close());
    const control = (method, path, body) => send(logto.control.url, { method, url: path, headers: json, body });
    const at = 1_700_000_000_000;
    const mfaVerifications = [{ id: 'f1', createdAt: at, type: 'Totp', key: 'never shown' }, { id: 'f2', createdAt: at, type: 'BackupCode', remainCodes: 9 }];
    const sso = { id: 's1', issuer: 'https://idp.example.test', identityId: 'e-7', detail: {}, createdAt: at, updatedAt: at, ssoConnectorId: 'c1' };
    const rows = [{ id: 'row1', username: 'r1', mfaVerifications, ssoIdentities: [sso] }, { id: 'row2', username: 'r2' }];
    assert.deepEqual((await control('POST', '/users/rows', rows)).body, { created: 2, total: 2 });
    for (const collision of [{ id: 'row4', username: 'r1' }, { id: 'row1', username: 'r4' }]) {
      const refused = await control('POST', '/users/rows', [{ id: 'row3', username: 'r3' }, collision]);
      assert.deepEqual([refused.status, refused.body.row], [422, 1]);
    }
    assert.equal((await control('GET', '/stats')).body.users, 2);
    const bearer = await managementToken(logto);
    const ask = async (path) => (await send(logto.url, { url: `/api/users/${path}`, headers: bearer })).body;
    const iso = new Date(at).toISOString();
    assert.deepEqual(await ask('row1/mfa-verifications'), [{ id: 'f1', createdAt: iso, type: 'Totp' }, { id: 'f2', createdAt: iso, type: 'BackupCode', remainCodes: 9 }]);
    assert.deepEqual((await ask('row1?includeSsoIdentities=true')).ssoIdentities, [{ tenantId: 'default', userId: 'row1', ...sso }]);
    assert.equal((await ask('row1')).ssoIdentities, undefined);
    assert.deepEqual([await ask('row2/mfa-verifications'), (await ask('row2?includeSsoIdentities=true')).ssoIdentities], [[], []]);
  });

  test('without a tie-breaker, pages of one moment overlap and miss, and no user comes twice in a page', async (t) => {
    const logto = await startLogto();
    t.after(() => logto.close());
    const control = (method, path, body) => send(logto.control.url, { method, url: path, headers: json, body });
    const createdAt = 1_700_000_000_000;
    await control('POST', '/users/rows', Array.from({ length: 250 }, (_, i) => ({ id: `t${i}`, createdAt: createdAt + (i < 200 ? 0 : i) })));
    const bearer = await managementToken(logto);
    const walk = async () => {
      const pages = [];
      for (const page of [1, 2, 3]) pages.push((await send(logto.url, { url: `/api/users?page=${page}&page_size=100`, headers: bearer })).body.map(({ id }) => id));
      for (const page of pages) assert.equal(new Set(page).size, page.length);
      return pages.flat();
    };
    assert.equal(new Set(await walk()).size, 250);
    await control('PUT', '/listing', { shuffle_ties: true });
    const seen = await walk();
    assert.equal(seen.length, 250);
    assert.ok(new Set(seen).size < 250);
    // Those of other moments keep their places.
    assert.deepEqual(seen.slice(0, 50), Array.from({ length: 50 }, (_, i) => `t${249 - i}`));
  });

  test('generated users are listed page by page and dumped', async (t) => {
    const logto = await startLogto();
    t.after(() => logto.close());
    const control = (method, path, body) => send(logto.control.url, { method, url: path, headers: json, body });
    assert.deepEqual((await control('POST', '/users/bulk', { count: 1_050 })).body, { created: 1_050, total: 1_050 });
    const bearer = await managementToken(logto);
    const seen = new Set();
    let last = Infinity;
    for (let page = 1; page <= 11; page += 1) {
      const { body } = await send(logto.url, { url: `/api/users?page=${page}&page_size=100`, headers: bearer });
      for (const { id, createdAt } of body) {
        assert.ok(createdAt <= last);
        last = createdAt;
        seen.add(id);
      }
    }
    assert.equal(seen.size, 1_050);
    const dump = (await control('GET', '/users/dump')).text.trim().split('\n').map((line) => JSON.parse(line));
    assert.equal(dump.length, 1_050);
    for (const test of [(u) => u.username === null, (u) => u.primaryEmail === null, (u) => u.primaryPhone === null, (u) => u.isSuspended, (u) => u.identities.google, (u) => Object.keys(u.customData)[0] === '9', (u) => !u.hasPassword]) {
      assert.ok(dump.some(test), String(test));
    }
    assert.equal((await control('GET', '/stats')).body.users, 1_050);
    const { byRoute, total } = (await control('GET', '/counters')).body;
    assert.equal(byRoute['GET /api/users'].byStatus[200], 11);
    assert.equal(total, 12);
  });
});

describe('front', () => {
  let front;
  let served;
  before(async () => {
    front = await startFront({
      name: 'echo',
      routeName: (_method, path) => path.replace(/\d+/, ':id'),
      handler: async (req, res) => {
        let body = '';
        for await (const chunk of req) body += chunk;
        served.push(`${req.method} ${req.url} ${body}`);
        res.setHeader('content-type', 'text/plain');
        res.end(`echo ${body}`);
      },
    });
  });
  after(() => front.close());
  const control = (method, path, body) => send(front.control.url, { method, url: path, headers: json, body });
  const fault = async (rule) => {
    served = [];
    await control('DELETE', '/counters');
    assert.equal((await control('PUT', '/faults', [rule])).status, 204);
  };
  const post = (body = 'hello') => send(front.url, { method: 'POST', url: '/things/7?x=1', body });
  const counters = async () => (await control('GET', '/counters')).body;
  const until = async (condition) => {
    for (let i = 0; i < 100 && !condition(); i += 1) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.ok(condition());
  };
  const unanswered = async (promise, ms = 60) => {
    const outcome = await Promise.race([promise.then(() => 'answered', () => 'failed'), new Promise((resolve) => setTimeout(resolve, ms, 'nothing'))]);
    assert.equal(outcome, 'nothing');
  };

  test('counts what the handler served, by route and status', async () => {
    await fault({ match: { path: '^/never$' }, status: 500 });
    for (let i = 0; i < 3; i += 1) assert.equal((await post()).text, 'echo hello');
    const { total, faulted, byRoute } = await counters();
    assert.deepEqual([total, faulted, byRoute['POST /things/:id']], [3, 0, { count: 3, byStatus: { 200: 3 } }]);
    const last = (await control('GET', '/requests?last=2')).body;
    assert.deepEqual(last.map(({ method, path, status }) => [method, path, status]), [['POST', '/things/7?x=1', 200], ['POST', '/things/7?x=1', 200]]);
  });

  test('a rule that is misspelt is refused, and the ones in force stay', async () => {
    await fault({ status: 503 });
    assert.equal((await control('PUT', '/faults', [{ delay_ms: 900 }])).status, 400);
    assert.equal((await post()).status, 503);
  });

  test('status, body, headers, times; faulted is counted apart', async () => {
    await fault({ match: { method: 'POST', path: '^/things/\\d+$' }, status: 503, body: { error: 'down' }, headers: { 'retry-after': '1' }, times: 1 });
    const first = await post();
    assert.deepEqual([first.status, first.body, first.headers['retry-after']], [503, { error: 'down' }, '1']);
    assert.equal((await post()).status, 200);
    assert.deepEqual((await control('GET', '/faults')).body[0].times, 0);
    const { total, faulted, faultedByRoute } = await counters();
    assert.deepEqual([total, faulted, faultedByRoute['POST /things/:id'].byStatus], [1, 1, { 503: 1 }]);
    assert.deepEqual(served, ['POST /things/7?x=1 hello']);
  });

  test('latency, probability 0, other methods', async () => {
    await fault({ latency_ms: 50 });
    const at = performance.now();
    assert.equal((await post()).status, 200);
    assert.ok(performance.now() - at >= 45);
    await fault({ status: 500, probability: 0 });
    assert.equal((await post()).status, 200);
    await fault({ match: { method: 'GET' }, status: 500 });
    assert.equal((await post()).status, 200);
  });

  test('reset and hang never run the handler', async () => {
    await fault({ reset: true });
    await assert.rejects(post(), { code: 'ECONNRESET' });
    await fault({ hang: true });
    await unanswered(post());
    assert.deepEqual(served, []);
    assert.deepEqual(await counters().then(({ total, faulted }) => [total, faulted]), [0, 1]);
  });

  test('commit_then runs the handler and loses its answer', async () => {
    await fault({ commit_then: 'reset' });
    await assert.rejects(post(), { code: 'ECONNRESET' });
    assert.deepEqual(served, ['POST /things/7?x=1 hello']);
    await fault({ commit_then: 'hang' });
    await unanswered(post());
    assert.deepEqual(served, ['POST /things/7?x=1 hello']);
    await fault({ commit_then: 502 });
    assert.equal((await post()).status, 502);
    assert.deepEqual(served, ['POST /things/7?x=1 hello']);
    assert.equal((await counters()).byRoute['POST /things/:id'].byStatus[200], 1);
  });

  test('commit_late_ms answers first and runs the handler later', async () => {
    await fault({ commit_late_ms: 40 });
    assert.equal((await post('late')).status, 504);
    assert.deepEqual(served, []);
    await until(() => served.length === 1);
    assert.deepEqual(served, ['POST /things/7?x=1 late']);
    await fault({ commit_late_ms: 10, reset: true });
    await assert.rejects(post('late'), { code: 'ECONNRESET' });
    await until(() => served.length === 1);
  });

  test('lie_content_length closes before the declared end', async () => {
    await fault({ lie_content_length: true });
    await assert.rejects(post(), { code: 'ECONNRESET', message: 'aborted' });
    assert.deepEqual(served, ['POST /things/7?x=1 hello']);
  });

  test('off refuses connections, on takes the same port again', async () => {
    await control('DELETE', '/faults');
    await control('POST', '/off');
    await assert.rejects(post(), { code: 'ECONNREFUSED' });
    await control('POST', '/on');
    assert.equal((await post()).status, 200);
  });

  test('a commit fault really commits in Logto', async (t) => {
    const logto = await startLogto();
    t.after(() => logto.close());
    const bearer = await managementToken(logto);
    logto.front.faults.set([{ match: { method: 'POST', path: '^/api/users$' }, commit_then: 'reset', times: 1 }]);
    const create = () => send(logto.url, { method: 'POST', url: '/api/users', headers: { ...bearer, ...json }, body: { username: 'twice' } });
    await assert.rejects(create(), { code: 'ECONNRESET' });
    assert.equal(logto.users.size, 1);
    assert.equal((await create()).body.code, 'user.username_already_in_use');
  });
});
