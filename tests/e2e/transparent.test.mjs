// What no rule claims reaches Logto and comes back unchanged.
//
// Steps: a raw origin; the built Worker before it in stage dual_write; requests with
// awkward methods, targets, headers, bodies; compare what the origin saw and what the
// client got.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, beforeEach, describe, test } from 'node:test';
import zlib from 'node:zlib';

import { pause, until } from '../harness/sandbox/client.mjs';
import { raw, startOrigin, startProxy } from './support.mjs';

let origin;
let proxy;

before(async () => {
  origin = await startOrigin();
  proxy = await startProxy({ origin: origin.url, vars: { ORIGIN_SECRET: 'origin-secret', LOGTO_DEADLINE_MS: '700' } });
  await proxy.bindings.FLAGS.put('stage', 'dual_write');
});
after(async () => {
  await proxy.close();
  await origin.close();
});
beforeEach(() => {
  origin.seen.length = 0;
  origin.answer = (_request, response) => response.end('ok');
});

const ask = (options) => raw(proxy.port, options);

describe('a request reaches the origin', () => {
  test('with method, path and query byte for byte', async () => {
    for (const path of ['/a%20b/%2F?x=%C3%A9&x=1&&y', '//api/users', '/API/users/1', '/oidc/auth?redirect_uri=http%3A%2F%2Fa%2Fb', '/?', '/a;b=c/@:$']) {
      await ask({ path });
      assert.equal(origin.seen.at(-1).url, path, path);
    }
    for (const method of ['GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'PATCH', 'DELETE', 'PROPFIND']) {
      await ask({ method, path: '/assets/x' });
      assert.equal(origin.seen.at(-1).method, method);
    }
  });

  test('with dot segments resolved, and judged by what is sent', async () => {
    for (const path of ['/x/../api/users/u1', '/./api/users/u1', '/x/%2e%2E/api/users/u1', '/x\\..\\api/users/u1', '/api/users/./u1']) {
      const before = proxy.events('request.done').length;
      await ask({ method: 'PATCH', path, headers: { authorization: 'Bearer x' }, body: '{}' });
      assert.equal(origin.seen.at(-1).url, '/api/users/u1', path);
      await until('the closing line', () => proxy.events('request.done').length > before);
      const done = proxy.events('request.done').at(-1);
      assert.deepEqual([done.operation, done['plan.mirror']], ['users.patch', 'recorded'], path);
    }
  });

  test('but for the proxy\'s own paths, in any spelling: the admin token goes nowhere', async () => {
    for (const path of ['//_proxy/status', '/_Proxy/status', '/_proxy', '/%5Fproxy/status', '/_proxy%2Fstatus', '/x/../_proxy/none', '/x/%2e./_proxy/none']) {
      const answer = await ask({ path, headers: { authorization: 'Bearer operator-of-the-sandbox' } });
      assert.match(String(answer.body), /"proxy.no_such_route"/, path);
      assert.equal(answer.status, 404, path);
    }
    assert.equal(origin.seen.length, 0);
  });

  test('with its own headers, cookies byte for byte', async () => {
    const cookie = '_interaction={"96vj6wgs":"Bv4W","_legacy":"Bv4W"}; _session=x; odd="a,b"';
    await ask({ headers: { cookie, 'accept-language': 'fr, en;q=0.1', 'logto-app-id': 'app', origin: 'https://spa.example', 'if-none-match': '"x"', 'x-custom': 'é'.normalize() } });
    const { headers } = origin.seen.at(-1);
    assert.equal(headers.cookie, cookie);
    assert.equal(headers['accept-language'], 'fr, en;q=0.1');
    assert.equal(headers['logto-app-id'], 'app');
    assert.equal(headers.origin, 'https://spa.example');
    assert.equal(headers['if-none-match'], '"x"');
  });

  test('without the client\'s own forwarding headers, with ours', async () => {
    await ask({ headers: { host: 'auth.example.com', forwarded: 'for=1.2.3.4', 'x-forwarded-for': '1.2.3.4', 'x-forwarded-host': 'evil', 'x-forwarded-proto': 'gopher', 'x-forwarded-prefix': '/evil', 'x-proxy-secret': 'guess', 'x-proxy-other': '1', 'cf-connecting-ip': '192.0.2.7' } });
    const { headers } = origin.seen.at(-1);
    assert.equal(headers['x-forwarded-host'], 'auth.example.com');
    assert.equal(headers['x-forwarded-proto'], 'http');
    assert.equal(headers['x-forwarded-for'], '192.0.2.7');
    assert.equal(headers['x-proxy-secret'], 'origin-secret');
    for (const name of ['forwarded', 'x-forwarded-prefix', 'x-proxy-other']) assert.equal(headers[name], undefined, name);
  });

  test('with its body byte for byte, whatever it is', async () => {
    const bodies = [];
    origin.answer = (request, response) => {
      const hash = createHash('sha256');
      request.on('data', (chunk) => hash.update(chunk)).on('end', () => { bodies.push(hash.digest('hex')); response.end(); });
    };
    const body = Buffer.alloc(3_000_000, 'é\0☃');
    for (const path of ['/upload', '/api/my-account/user-assets', '/api/users/u1']) {
      await ask({ method: 'PATCH', path, body, headers: { authorization: 'Bearer x', 'content-length': body.length } });
    }
    const expected = createHash('sha256').update(body).digest('hex');
    assert.equal(bodies.filter((hash) => hash === expected).length, 3);
  });

  test('with its body byte for byte when nothing says how long it is', async () => {
    const hashes = [];
    origin.answer = (request, response) => {
      // Whose account it is, so that the upload is recorded before it is passed on.
      if (request.method === 'GET') return response.writeHead(200, { 'content-type': 'application/json' }).end('{"id":"uploader0001"}');
      const hash = createHash('sha256');
      return request.on('data', (chunk) => hash.update(chunk)).on('end', () => { hashes.push(hash.digest('hex')); response.end('stored'); });
    };
    // Below and above what is held of a write, in pieces.
    for (const pieces of [1, 9, 80]) {
      const piece = Buffer.alloc(100_000, `${pieces}é\0`);
      const answer = await ask({
        method: 'POST', path: '/api/my-account/user-assets/avatar',
        headers: { authorization: 'Bearer x', 'transfer-encoding': 'chunked', 'content-type': 'multipart/form-data; boundary=x' },
        body: async (request) => {
          for (let i = 0; i < pieces; i += 1) if (!request.write(piece)) await new Promise((resolve) => { request.once('drain', resolve); });
          request.end();
        },
      });
      assert.deepEqual([answer.status, answer.body.toString()], [200, 'stored'], `${pieces} pieces`);
      const expected = createHash('sha256');
      for (let i = 0; i < pieces; i += 1) expected.update(piece);
      assert.equal(hashes.at(-1), expected.digest('hex'), `${pieces} pieces`);
      assert.equal(proxy.events('request.done').at(-1)['plan.mirror'], 'recorded');
    }
  });

  test('with its body though it is a GET or HEAD, which no held body can be given to', async () => {
    const bodies = [];
    origin.answer = (request, response) => request.on('data', (chunk) => bodies.push(chunk.toString())).on('end', () => response.end('ok'));
    for (const method of ['GET', 'HEAD']) {
      for (const path of ['/consent', '/assets/x', '/api/users/u1', '/oidc/jwks']) {
        const answer = await ask({ method, path, headers: { cookie: '_interaction=x', 'content-type': 'application/json', 'content-length': 2 }, body: '{}' });
        assert.equal(answer.status, 200, `${method} ${path}`);
        assert.equal(origin.seen.at(-1).url, path);
      }
    }
    assert.deepEqual(bodies, Array(8).fill('{}'));
  });

  test('streamed: the origin has the first chunk before the client sends the last', async () => {
    const chunks = [];
    let firstSeen;
    const first = new Promise((resolve) => { firstSeen = resolve; });
    origin.answer = (request, response) => {
      request.on('data', (chunk) => { chunks.push(chunk.toString()); firstSeen(); }).on('end', () => response.end('done'));
    };
    const answer = await ask({
      method: 'POST', path: '/upload', headers: { 'transfer-encoding': 'chunked' },
      body: async (request) => { request.write('one'); await first; request.end('two'); },
    });
    assert.equal(answer.body.toString(), 'done');
    assert.deepEqual(chunks.join(''), 'onetwo');
  });
});

describe('an answer reaches the client', () => {
  test('with its status and every Set-Cookie line on its own, in order', async () => {
    const cookies = ['_interaction={"a":"1","_legacy":"1"}; path=/; expires=Sun, 22 Nov 2026 20:36:28 GMT; samesite=lax; httponly', '_interaction.sig=x; path=/', 'a=1', 'b=2; expires=Thu, 01 Jan 1970 00:00:00 GMT'];
    for (const status of [200, 201, 204, 303, 400, 404, 418, 503]) {
      origin.answer = (_request, response) => response.writeHead(status, { 'set-cookie': cookies, 'x-a': '1', link: '<http://h/users?page=2>; rel="next"', 'www-authenticate': 'Bearer error="x"' }).end();
      const answer = await ask({ path: '/api/experience/thing' });
      assert.equal(answer.status, status);
      assert.deepEqual(answer.headers['set-cookie'], cookies);
      assert.equal(answer.headers.link, '<http://h/users?page=2>; rel="next"');
      assert.equal(answer.headers['www-authenticate'], 'Bearer error="x"');
    }
  });

  test('redirects are not followed', async () => {
    origin.answer = (_request, response) => response.writeHead(302, { location: 'http://127.0.0.1:1/elsewhere' }).end('Redirecting');
    for (const [method, path] of [['GET', '/x'], ['POST', '/api/experience/submit'], ['DELETE', '/api/users/u1']]) {
      const answer = await ask({ method, path, headers: { authorization: 'Bearer x', cookie: '_interaction=abc' } });
      assert.deepEqual([answer.status, answer.headers.location, answer.body.toString()], [302, 'http://127.0.0.1:1/elsewhere', 'Redirecting']);
    }
  });

  test('304 and HEAD stay bodiless', async () => {
    origin.answer = (request, response) => response.writeHead(request.headers['if-none-match'] ? 304 : 200, { etag: '"1"', 'content-length': '11' }).end();
    assert.equal((await ask({ headers: { 'if-none-match': '"1"' } })).status, 304);
    const head = await ask({ method: 'HEAD' });
    assert.deepEqual([head.status, head.headers['content-length'], head.body.length], [200, '11', 0]);
  });

  test('a compressed body stays compressed', async () => {
    const zipped = zlib.gzipSync('x'.repeat(5_000));
    origin.answer = (_request, response) => response.writeHead(200, { 'content-encoding': 'gzip', 'content-type': 'text/plain' }).end(zipped);
    const answer = await ask({ headers: { 'accept-encoding': 'gzip' } });
    assert.equal(answer.headers['content-encoding'], 'gzip');
    assert.equal(zlib.gunzipSync(answer.body).toString(), 'x'.repeat(5_000));
  });

  test('streamed: the client has the first chunk before the origin sends the last', async () => {
    let finish;
    origin.answer = (_request, response) => { response.writeHead(200, { 'content-type': 'application/octet-stream' }); response.write('one'); finish = () => response.end('two'); };
    const answer = await ask({
      headers: { 'accept-encoding': 'identity' },
      onResponse: (response) => response.once('data', (chunk) => { assert.equal(chunk.toString(), 'one'); finish(); }),
    });
    assert.equal(answer.body.toString(), 'onetwo');
  });

  test('an upgrade goes through both ways', async () => {
    origin.upgrade = (request, socket) => {
      const accept = createHash('sha1').update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
      socket.on('data', (frame) => {
        const mask = frame.subarray(2, 6);
        const text = frame.subarray(6, 6 + (frame[1] & 127)).map((byte, index) => byte ^ mask[index % 4]);
        if ((frame[0] & 15) === 1) socket.write(Buffer.concat([Buffer.from([0x81, text.length]), text]));
        else socket.end();
      });
      socket.on('error', () => {});
    };
    const socket = new WebSocket(`ws://127.0.0.1:${proxy.port}/socket`);
    const echoed = await new Promise((resolve, reject) => {
      socket.onopen = () => socket.send('hello');
      socket.onmessage = ({ data }) => resolve(data);
      socket.onerror = () => reject(new Error('socket'));
    });
    socket.close();
    assert.equal(echoed, 'hello');
  });
});

describe('a bad backend', () => {
  test('that resets: 502 in the proxy\'s own words, OAuth error objects on OAuth endpoints', async () => {
    origin.answer = (request) => request.socket.destroy();
    const api = await ask({ path: '/api/anything' });
    const oauth = await ask({ path: '/oidc/token', method: 'POST' });
    assert.deepEqual([api.status, oauth.status], [502, 502]);
    const [apiBody, oauthBody] = [JSON.parse(api.body), JSON.parse(oauth.body)];
    assert.equal(apiBody.code, 'proxy.logto_unreachable');
    assert.match(apiBody.request_id, /^[0-9a-f]{16}$/);
    assert.deepEqual([oauthBody.error, oauthBody.code], ['temporarily_unavailable', 'proxy.logto_unreachable']);
    assert.equal(proxy.events('request.done').at(-1).error, 'proxy.logto_unreachable');
  });

  test('that hangs on a claimed route: 504 at the deadline', async () => {
    origin.answer = () => {};
    const answer = await ask({ method: 'PATCH', path: '/api/users/u1', headers: { authorization: 'Bearer x' }, body: '{}' });
    assert.deepEqual([answer.status, JSON.parse(answer.body).code], [504, 'proxy.logto_timed_out']);
  });

  test('that lies about its content length: the client sees a broken answer, not a shortened one', async () => {
    origin.answer = (_request, response) => { response.writeHead(200, { 'content-length': '100' }); response.write('short'); setTimeout(() => response.destroy(), 50); };
    await assert.rejects(ask({ path: '/x' }));
  });

  test('and the next request is served again', async () => {
    assert.equal((await ask({ path: '/x' })).status, 200);
  });
});

describe('a bad request', () => {
  test('a user write without declared length above 2 MiB is Logto\'s to refuse', async () => {
    const refusal = '{"code":"guard.invalid_input"}';
    origin.answer = (request, response) => request.resume().on('end', () => response.writeHead(413, { 'content-type': 'application/json' }).end(refusal));
    const answer = await ask({
      method: 'POST', path: '/api/users', headers: { authorization: 'Bearer x', 'transfer-encoding': 'chunked' },
      body: (request) => { for (let part = 0; part < 5; part += 1) request.write(Buffer.alloc(600_000, 'x')); request.end(); },
    });
    assert.deepEqual([answer.status, answer.body.toString()], [413, refusal]);
    assert.equal(origin.seen.length, 1);
  });

  test('a client that breaks off a user write: nothing forwarded', async () => {
    await assert.rejects(ask({
      method: 'PATCH', path: '/api/users/u1', headers: { authorization: 'Bearer x', 'content-length': '1000' },
      body: (request) => { request.write('{"name":'); setTimeout(() => request.destroy(), 50); },
    }));
    await pause(200);
    assert.equal(origin.seen.length, 0);
  });

  test('malformed JSON, cookies and tokens are Logto\'s to refuse', async () => {
    origin.answer = (_request, response) => response.writeHead(400, { 'content-type': 'application/json' }).end('{"code":"guard.invalid_input"}');
    for (const [method, path, headers, body] of [
      ['PATCH', '/api/users/u1/is-suspended', { authorization: 'Bearer x' }, '{"isSuspended":'],
      ['POST', '/api/experience/submit', { cookie: '_interaction={"broken' }, undefined],
      ['GET', '/api/users/u1', { authorization: 'Bearer eyJhbGciOiJub25lIn0.e30.' }, undefined],
      ['GET', '/api/users/u1', { authorization: `Bearer ${'a'.repeat(9_000)}.b.c` }, undefined],
      ['POST', '/api/users', {}, '{}'],
    ]) {
      const answer = await ask({ method, path, headers, body });
      assert.deepEqual([answer.status, answer.body.toString()], [400, '{"code":"guard.invalid_input"}'], path);
    }
  });

  test('a client that hangs up is passed on to the origin', async () => {
    let closed;
    const gone = new Promise((resolve) => { closed = resolve; });
    origin.answer = (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream' });
      const beat = setInterval(() => response.write('x'), 20);
      response.on('close', () => { clearInterval(beat); closed('gone'); });
    };
    ask({ path: '/long', onResponse: (response, request) => response.once('data', () => request.destroy()) }).catch(() => {});
    assert.equal(await Promise.race([gone, pause(3_000)]), 'gone');
  });
});

test('every request left exactly one request.done, and no line holds a secret', async () => {
  const before = proxy.events('request.done').length;
  await ask({ path: '/one', headers: { cookie: 'secret-cookie', authorization: 'Bearer secret-token', 'cf-connecting-ip': '192.0.2.9' } });
  await ask({ method: 'PATCH', path: '/api/users/secretuser01', headers: { authorization: 'Bearer secret-token' }, body: '{"name":"secret-name","primaryEmail":"secret@example.test"}' });
  await until('both lines', () => proxy.events('request.done').length >= before + 2);
  assert.equal(proxy.events('request.done').length, before + 2);
  assert.ok(!proxy.lines.some((line) => /secret|192\.0\.2\.9/.test(line)), 'a secret in the log');
});
