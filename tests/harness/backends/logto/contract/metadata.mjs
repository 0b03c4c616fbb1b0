// Discovery, keys, CORS, and the ETags of everything that was recorded.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { ecKey } from '../keys.mjs';
import { startLogto } from '../main.mjs';
import { bodyEtag } from '../server.mjs';
import { exchangesOf, send } from './client.mjs';
import { m2m, recorded, replay } from './flows.mjs';

describe('ETags', () => {
  test('the recorded ones are recomputed from the recorded bodies', () => {
    const names = [
      'users-get', 'users-list-page1', 'users-list-include-password-hash', 'users-search', 'users-roles', 'discovery', 'jwks', 'jwks-after-rotation',
      'rs256-discovery', 'rs256-jwks', 'experience-register', 'experience-interaction-after-identification', 'oidc-userinfo', 'account-api',
      'oidc-authorize-with-live-session',
    ];
    let checked = 0;
    for (const name of names) {
      for (const { response } of exchangesOf(name)) {
        if (!response.headers.etag) continue;
        // Recorded bodies are what the client saw; a redirect's text is as it was sent.
        assert.equal(bodyEtag(response.body), response.headers.etag, name);
        checked += 1;
      }
    }
    assert.ok(checked >= 18, `only ${checked} checked`);
  });
});

describe('metadata', () => {
  let server;
  before(async () => { server = await recorded(); });
  after(() => server.logto.close());

  test('status and discovery, to the byte', async () => {
    for (const name of ['status', 'discovery']) await replay(server.ask, exchangesOf(name));
    const [{ request, response }] = exchangesOf('discovery');
    const answer = await server.ask({ ...request, headers: { 'accept-encoding': 'gzip, deflate' } });
    assert.equal(answer.text, JSON.stringify(response.body));
    assert.equal(answer.headers.etag, response.headers.etag);
    assert.equal(answer.headers['content-encoding'], 'gzip');
    const again = await server.ask({ ...request, headers: { 'if-none-match': answer.headers.etag } });
    assert.equal(again.status, 304);
    assert.equal(again.text, '');
  });

  test('compression: the client\'s weights, br first among equals, nothing below 1 kB', async () => {
    const [{ request }] = exchangesOf('discovery');
    for (const [accept, expected] of [['gzip, deflate, br', 'br'], ['gzip;q=1, br;q=0.5', 'gzip'], ['identity', undefined], ['*', 'br'], ['gzip;q=0', undefined]]) {
      const answer = await server.ask({ ...request, headers: { 'accept-encoding': accept } });
      assert.equal(answer.headers['content-encoding'], expected, accept);
      assert.equal(answer.body.issuer, 'http://127.0.0.1:3011/oidc');
    }
    assert.equal((await server.ask({ url: '/oidc/jwks', headers: { 'accept-encoding': 'gzip' } })).headers['content-encoding'], undefined);
  });

  test('jwks: members, order, headers, thumbprint', async () => {
    const [{ request, response }] = exchangesOf('jwks');
    const answer = await server.ask(request);
    assert.equal(answer.status, 200);
    for (const name of ['cache-control', 'content-type', 'access-control-allow-origin', 'vary']) assert.equal(answer.headers[name], response.headers[name], name);
    const [key] = answer.body.keys;
    assert.deepEqual(Object.keys(key), Object.keys(response.body.keys[0]));
    const thumbprint = (jwk) => createHash('sha256').update(JSON.stringify({ crv: jwk.crv, kty: jwk.kty, x: jwk.x, y: jwk.y })).digest('base64url');
    assert.equal(key.kid, thumbprint(key));
    assert.equal(response.body.keys[0].kid, thumbprint(response.body.keys[0]));
  });

  test('two keys after a rotation', async (t) => {
    const rotated = await recorded({ keys: [await ecKey(), await ecKey()] });
    t.after(() => rotated.logto.close());
    const [{ request, response }] = exchangesOf('jwks-after-rotation');
    const answer = await rotated.ask(request);
    assert.deepEqual(answer.body.keys.map(Object.keys), response.body.keys.map(Object.keys));
  });

  test('CORS and forwarded headers', async () => {
    const exchanges = exchangesOf('cors-and-forwarded-headers');
    for (const { name } of exchanges) server.logto.users.create({ username: `u${name.length}_${Math.random().toString(36).slice(2)}`, createdAt: 1 });
    while (server.logto.users.size < 21) server.logto.users.create();
    await replay(server.ask, exchanges, {
      rewrite: (request) => (request.headers.authorization ? { ...request, headers: { ...request.headers, ...server.bearer } } : request),
      onAnswer: (answer, exchange) => {
        if (exchange.name === 'discovery with X-Forwarded-*') assert.equal(answer.headers.etag, exchange.response.headers.etag);
      },
    });
  });
});

describe('RS256', () => {
  const old = 'http://127.0.0.1:3001';
  let server;
  before(async () => {
    const application = { ...m2m, id: 'lhaofktcog90th9hsf1g8', secret: 'sample-secret-proxy-m2m' };
    server = await startLogto({ endpoint: old, alg: 'RS256', seed: { applications: [application] } });
  });
  after(() => server.close());
  const ask = (request) => send(server.url, { host: new URL(old).host, ...request });

  test('jwks: the RSA key has no alg, the older EC key is still there', async () => {
    const [{ request, response }] = exchangesOf('rs256-jwks');
    const { body: { keys } } = await ask(request);
    assert.deepEqual(keys.map(Object.keys), response.body.keys.map(Object.keys));
    assert.deepEqual(keys.map(({ kty, alg, use, e }) => ({ kty, alg, use, e })), response.body.keys.map(({ kty, alg, use, e }) => ({ kty, alg, use, e })));
  });

  test('discovery offers what was recorded', async () => {
    const [{ request, response }] = exchangesOf('rs256-discovery');
    const { body } = await ask(request);
    // The recording is of 1.37, before the device flow.
    const { device_authorization_endpoint: _later, ...rest } = body;
    rest.grant_types_supported = rest.grant_types_supported.filter((type) => !type.endsWith(':device_code'));
    assert.equal(JSON.stringify(rest), JSON.stringify(response.body));
  });

  test('tokens are signed RS256 with the first key', async () => {
    const [{ request, decodedAccessToken: expected }] = exchangesOf('rs256-token-client-credentials');
    const { body } = await ask(request);
    const { body: { keys: [key] } } = await ask({ url: '/oidc/jwks' });
    const [header, payload] = body.access_token.split('.').slice(0, 2).map((part) => JSON.parse(Buffer.from(part, 'base64url')));
    assert.equal(JSON.stringify(header), JSON.stringify({ ...expected.header, kid: key.kid }));
    assert.deepEqual(Object.keys(payload), Object.keys(expected.payload));
    assert.equal(payload.scope, 'all');
    const admitted = await ask({ url: '/api/users', headers: { authorization: `Bearer ${body.access_token}` } });
    assert.equal(admitted.status, 200);
  });
});
