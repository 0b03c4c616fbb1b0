// The resource server of docs/applications/, before two issuers of the test's own: what it takes,
// and each defect alone that it refuses. Its login middleware is run by `npm run sign-in`.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';

import { exportJWK, generateKeyPair, SignJWT } from 'jose';

import { resourceServer } from '../../docs/applications/resource_server.mjs';
import { dualLogin } from '../../docs/applications/login.mjs';

const AUDIENCE = 'https://api.newsroom.example';
let server;
let url;
let authenticate;
let isKeysDown = false;
let introspection = () => ({ active: false });
const asked = [];
const keys = {};

before(async () => {
  for (const [name, alg] of [['logto', 'ES384'], ['mgpass', 'ES256'], ['stranger', 'ES384']]) keys[name] = { alg, ...(await generateKeyPair(alg)) };
  server = http.createServer(async (request, response) => {
    const json = (status, body) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (request.method === 'POST') {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      asked.push(new URLSearchParams(Buffer.concat(chunks).toString()).get('token'));
      const found = introspection();
      return found ? json(200, found) : json(503, {});
    }
    if (isKeysDown) return json(503, {});
    const name = request.url.split('/')[1];
    return json(200, { keys: [{ ...await exportJWK(keys[name].publicKey), kid: name, alg: keys[name].alg, use: 'sig' }] });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${server.address().port}`;
  authenticate = makeServer();
});
after(() => { server.closeAllConnections(); server.close(); });

const makeServer = () => resourceServer({
  issuers: {
    [`${url}/oidc`]: { jwks: `${url}/logto/jwks`, algorithms: ['ES384'], audience: AUDIENCE, typ: 'at+jwt' },
    [url]: { jwks: `${url}/mgpass/jwks`, algorithms: ['ES256'], audience: 'app_newsroom', isAccessToken: ({ scope }) => typeof scope === 'string' },
  },
  introspection: { endpoint: `${url}/introspect`, clientId: 'api', clientSecret: 's' },
});

const ofLogto = () => ({ iss: `${url}/oidc`, aud: AUDIENCE, sub: 'u1', scope: 'read', exp: Math.floor(Date.now() / 1_000) + 60 });
const ofMgpass = () => ({ iss: url, aud: 'app_newsroom', sub: 'u1', scope: 'openid', exp: Math.floor(Date.now() / 1_000) + 60 });
const sign = (claims, by, { typ = 'at+jwt', kid = by } = {}) =>
  new SignJWT(claims).setProtectedHeader({ alg: keys[by].alg, kid, ...(typ && { typ }) }).sign(keys[by].privateKey);
const refused = async (token, status = 401) => assert.rejects(authenticate(`Bearer ${await token}`), { status });

describe('the resource server', () => {
  test('takes an access token of each issuer', async () => {
    assert.equal((await authenticate(`Bearer ${await sign(ofLogto(), 'logto')}`)).sub, 'u1');
    for (const typ of ['JWT', null]) assert.equal((await authenticate(`Bearer ${await sign(ofMgpass(), 'mgpass', { typ })}`)).sub, 'u1');
  });
  test('refuses each defect alone', async () => {
    const without = (claims, name) => { delete claims[name]; return claims; };
    const past = Math.floor(Date.now() / 1_000) - 60;
    await refused(sign({ ...ofLogto(), aud: 'another' }, 'logto'));
    await refused(sign({ ...ofLogto(), exp: past }, 'logto'));
    await refused(sign(without(ofLogto(), 'exp'), 'logto'));
    await refused(sign(without(ofLogto(), 'sub'), 'logto'));
    await refused(sign(ofLogto(), 'logto', { typ: 'JWT' }));
    await refused(sign(ofLogto(), 'logto', { typ: null }));
    await refused(sign({ ...ofLogto(), iss: 'https://elsewhere.example' }, 'logto'));
    await refused(sign(without(ofLogto(), 'iss'), 'logto'));
    await refused(sign(ofLogto(), 'stranger', { kid: 'logto' }));
    // A key of the other issuer's, in both directions.
    await refused(sign(ofLogto(), 'mgpass'));
    await refused(sign(ofMgpass(), 'logto', { kid: 'mgpass' }));
    // Its ID token.
    await refused(sign(without(ofMgpass(), 'scope'), 'mgpass', { typ: 'JWT' }));
    await refused(sign({ ...ofMgpass(), aud: 'app_other' }, 'mgpass'));
    const whole = await sign(ofLogto(), 'logto');
    const [header, , signature] = whole.split('.');
    await refused(`${header}.${Buffer.from(JSON.stringify({ ...ofLogto(), sub: 'u2' })).toString('base64url')}.${signature}`);
    await refused(`${Buffer.from('{"alg":"none"}').toString('base64url')}.${whole.split('.')[1]}.AA`);
    await refused('a.b.c');
    for (const header of [undefined, '', 'Basic abc', 'Bearer', 'Bearer a b']) await assert.rejects(authenticate(header), { status: 401 });
    assert.deepEqual(asked, [], 'no JWT was asked about');
  });
  test('asks about what is opaque, and takes only what is active', async () => {
    introspection = () => ({ active: true, sub: 'u1' });
    assert.equal((await authenticate('Bearer opaque-1')).sub, 'u1');
    introspection = () => ({ active: false });
    await refused('opaque-2');
    introspection = () => ({ active: true });
    await refused('opaque-3');
    introspection = () => undefined;
    await refused('opaque-4', 503);
    assert.deepEqual(asked, ['opaque-1', 'opaque-2', 'opaque-3', 'opaque-4']);
  });
  test('says 503, not 401, while keys cannot be had', async () => {
    isKeysDown = true;
    authenticate = makeServer();
    await refused(sign(ofLogto(), 'logto'), 503);
    isKeysDown = false;
  });
});

// An issuer is asked for its metadata and for nothing else: what is refused here never gets that far.
test('the login middleware takes back only what this browser set out for', async () => {
  const issuer = http.createServer((request, response) => {
    const own = `http://${request.headers.host}`;
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({
      issuer: own, authorization_endpoint: `${own}/authorize`, token_endpoint: `${own}/token`, jwks_uri: `${own}/jwks`,
    }));
  });
  issuer.listen(0, '127.0.0.1');
  await once(issuer, 'listening');
  const own = `http://127.0.0.1:${issuer.address().port}`;
  const side = (name) => ({ issuer: own, clientId: name, start: `http://news.test/login/${name}`, callback: `http://news.test/callback/${name}`, scope: 'openid' });
  const login = await dualLogin({ insecure: true, link: '', endSession: '', afterSignOut: '', sides: { logto: side('logto'), mgpass: side('mgpass') } });
  const ask = async (path, cookie = '') => {
    const seen = {};
    const response = { writeHead: (status, headers) => Object.assign(seen, { status, headers }) && response, end: (text) => { seen.text = text; return response; } };
    seen.isHandled = await login.handle({ method: 'GET', url: path, headers: { host: 'news.test', cookie } }, response);
    return seen;
  };
  const begun = await ask('/login/logto');
  const to = new URL(begun.headers.location);
  assert.equal(to.searchParams.get('client_id'), 'logto');
  assert.equal(to.searchParams.get('code_challenge_method'), 'S256');
  assert.ok(to.searchParams.get('nonce'));
  const cookie = begun.headers['set-cookie'][0].split(';')[0];
  const state = to.searchParams.get('state');
  for (const [path, held, why] of [
    [`/callback/logto?code=c&state=${state}`, '', 'another browser: login CSRF'],
    [`/callback/logto?code=c&state=${state}`, 'login=forged', 'another browser'],
    ['/callback/logto?code=c&state=other', cookie, 'another state'],
    ['/callback/logto?code=c', cookie, 'no state'],
    // Last, since it uses the sign-in up.
    [`/callback/mgpass?code=c&state=${state}`, cookie, 'the other side: mix-up'],
    [`/callback/logto?code=c&state=${state}`, cookie, 'a second time'],
  ]) {
    const answer = await ask(path, held);
    assert.equal(answer.status, 400, why);
    assert.match(answer.text, /not begun here/, why);
  }
  assert.equal((await ask('/elsewhere')).isHandled, false);
  issuer.closeAllConnections();
  issuer.close();
});
