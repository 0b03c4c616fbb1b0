// Sign-in and clients of both sides, attacked: through the built Worker before two origins
// that keep whatever they are sent.
//
//  1. the pin: forged, cut, sealed by another secret, of another kind, replayed under
//     another name
//  2. redirects through the login link, `/_proxy/signed-out` and the list of applications
//  3. secrets, codes and tokens in every form in which a client can show them: never at
//     the side that they are not of; access tokens and hints by their issuer
//  4. the proxy's cookies and its admin token: never at a backend

import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { scratch } from '../harness/sandbox/scratch.mjs';
import { Browser } from '../harness/sandbox/browser.mjs';
import { SECRETS } from '../harness/sandbox/sandbox.mjs';
import { applyMigrations, startWorkers } from '../harness/sandbox/workers.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const SECRET = 'a-key-for-the-pin';
const START = { logto: 'https://news.example/login', mgpass: 'https://news.example/login/mgpass' };
const CLIENT = { logto: 'news00000000000000000', mgpass: 'app_news' };
const LIST = [{
  name: 'news', group: 'main', owner: 'web', ready: ['sign_in', 'sign_out'],
  logto: { client_id: CLIENT.logto, start: START.logto },
  mgpass: { client_id: CLIENT.mgpass, start: START.mgpass },
}];

// Keeps method, URL, headers and body of each request, as one text.
async function startOrigin(answer = () => ({})) {
  const seen = [];
  const server = http.createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    seen.push(`${request.method} ${request.url}\n${request.rawHeaders.join('\n')}\n${body}`);
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer(request)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${server.address().port}`;
  return { url, seen, has: (text) => seen.some((request) => request.includes(text)), close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); }) };
}

/** `refused(kind, name, isRefused, found)` for each attack, `accepted(name, {status})` for each valid call. */
export async function signInAttacks(refused, accepted) {
  const { directory: persistTo, remove } = scratch('tokens');
  const logto = await startOrigin();
  const mgpass = await startOrigin((request) => (request.url.endsWith('/openid-configuration')
    ? { issuer: mgpass.url, token_endpoint: `${mgpass.url}/token`, jwks_uri: `${mgpass.url}/jwks` }
    : { keys: [] }));
  const workers = await startWorkers({
    persistTo,
    workers: [{
      name: 'dual-write-proxy',
      config: path.join(root, 'wrangler.toml'),
      port: 0,
      vars: { LOGTO_ORIGIN: logto.url, LOGTO_ISSUER: 'https://auth.example/oidc', MGPASS_ORIGIN: mgpass.url, MGPASS_ISSUER: mgpass.url, ORIGIN_SECRET: 'origin-s3cret', ...SECRETS, PIN_SECRET: SECRET },
    }],
  });
  try {
    await applyMigrations({ sandbox: workers, databaseId: 'proxy-local', directory: path.join(root, 'schema/proxy') });
    const { url, getBindings } = workers.workers['dual-write-proxy'];
    const { FLAGS } = await getBindings();
    const flags = { stage: 'dual_write', applications: JSON.stringify(LIST), mgpass_pages: 'closed', sign_in_percent: '0.01' };
    for (const [key, value] of Object.entries(flags)) await FLAGS.put(key, value);
    await attack({ url, logto, mgpass, refused, accepted });
  } finally {
    await workers.dispose();
    await Promise.all([logto.close(), mgpass.close()]);
    remove();
  }
}

function seal(name, value, secret = SECRET, ageS = 0) {
  const sealed = `${value}.${Math.floor(Date.now() / 1000) - ageS}`;
  const hmac = createHmac('sha256', secret).update(name).update('\0').update(sealed).digest('hex').slice(0, 32);
  return `${sealed}.${hmac}`;
}

async function attack({ url, logto, mgpass, refused, accepted }) {
  const [PIN, READY, OUT] = ['__Secure-dwp_pin', '__Secure-dwp_ready', '__Secure-dwp_sign_out'];
  const ready = `${READY}=${seal(READY, '1')}`;
  const ask = (at, headers = {}) => fetch(`${url}${at}`, { redirect: 'manual', headers: { 'sec-fetch-dest': 'document', ...headers } });
  const link = async (cookie, at = '/_proxy/sign-in/news') => (await ask(at, { cookie })).headers.get('location');

  const good = seal(PIN, '0');
  accepted('a browser in the share', { status: await link(`${PIN}=${good}; ${ready}`) === START.mgpass ? 200 : 0 });
  accepted('an old pin that is still good', { status: await link(`${PIN}=${seal(PIN, '0', SECRET, 399 * 86_400)}; ${ready}`) === START.mgpass ? 200 : 0 });
  accepted('the good one of two pins', { status: await link(`${PIN}=${seal(PIN, '0', 'guessed')}; ${PIN}=${good}; ${ready}`) === START.mgpass ? 200 : 0 });
  const [value, issued, hmac] = good.split('.');
  for (const [name, cookies] of [
    ['another bucket', `${PIN}=1.${issued}.${hmac}; ${ready}`],
    ['another time', `${PIN}=${value}.${issued - 1}.${hmac}; ${ready}`],
    ['without a seal', `${PIN}=${value}.${issued}; ${ready}`],
    ['an empty seal', `${PIN}=${value}.${issued}.; ${ready}`],
    ['half a seal', `${PIN}=${value}.${issued}.${hmac.slice(0, 16)}; ${ready}`],
    ['a longer seal', `${PIN}=${good}00; ${ready}`],
    ['another secret', `${PIN}=${seal(PIN, '0', 'guessed')}; ${ready}`],
    ['no secret', `${PIN}=${seal(PIN, '0', '')}; ${ready}`],
    ['the mark by a pin', `${PIN}=${good}; ${READY}=${good}`],
    ['the mark by a sign-out', `${PIN}=${good}; ${READY}=${seal(OUT, '1')}`],
    ['a pin by a mark', `${PIN}=${seal(READY, '0')}; ${ready}`],
    ['a pin under a name without its prefix', `dwp_pin=${good}; ${ready}`],
    ['a pin older than browsers keep one', `${PIN}=${seal(PIN, '0', SECRET, 401 * 86_400)}; ${ready}`],
    ['a pin of tomorrow', `${PIN}=${seal(PIN, '0', SECRET, -86_400)}; ${ready}`],
    ['a mark of months ago, replayed', `${PIN}=${good}; ${READY}=${seal(READY, '1', SECRET, 91 * 86_400)}`],
    ['no mark beside a replayed pin', `${PIN}=${good}`],
    ['a mark of another meaning', `${PIN}=${good}; ${READY}=${seal(READY, '2')}`],
    ['a negative bucket', `${PIN}=${seal(PIN, '-1')}; ${ready}`],
    ['a bucket that overflows', `${PIN}=${seal(PIN, '65536')}; ${ready}`],
    ['a session at Logto beside a good pin', `${PIN}=${good}; ${ready}; _session=x`],
  ]) {
    // A fresh draw may be bucket 0 once in ten thousand times: then once more.
    let found = await link(cookies);
    if (found === START.mgpass) found = await link(cookies);
    refused('forged or replayed pin', name, found === START.logto, found);
  }
  const framed = (await ask('/_proxy/sign-in/news', { 'sec-fetch-dest': 'iframe', cookie: ready })).headers;
  refused('forged or replayed pin', 'drawn in a frame', framed.get('location') === START.logto && !framed.has('set-cookie'), framed.get('location'));

  for (const at of [
    '/_proxy/sign-in/news?redirect_uri=https://evil.example',
    '/_proxy/sign-in/news?start=https%3A%2F%2Fevil.example',
    '/_proxy/sign-in/news?//evil.example',
    '/_proxy/sign-in/https:%2F%2Fevil.example',
    '/_proxy/sign-in//evil.example',
    '/_proxy/sign-in/..%2f..%2fevil.example',
    '/_proxy/sign-in/news%0d%0alocation:%20https://evil.example',
    '/_proxy/sign-in/news/evil',
    '/_proxy/signed-out?post_logout_redirect_uri=https://evil.example',
    `/oidc/session/end?client_id=${CLIENT.mgpass}&post_logout_redirect_uri=https%3A%2F%2Fevil.example`,
    `/oidc/session/end?client_id=${CLIENT.logto}&post_logout_redirect_uri=https%3A%2F%2Fevil.example`,
  ]) {
    for (const headers of [{}, { 'x-forwarded-host': 'evil.example' }, { cookie: `${OUT}=${seal(OUT, Buffer.from('{"a":"news","u":"https://evil.example"}').toString('base64url'), 'guessed')}` }]) {
      const answer = await ask(at, headers);
      const location = answer.headers.get('location') ?? '';
      refused('open redirect through applications', at, !location.includes('evil'), location);
    }
  }

  accepted('the link leads to a listed address', { status: await link('') === START.logto ? 200 : 0 });
  const kept = seal(OUT, Buffer.from('{"a":"news","u":"https://news.example/bye","s":"x"}').toString('base64url'));
  const back = (await ask('/_proxy/signed-out', { cookie: `${OUT}=${kept}` })).headers.get('location');
  accepted('a sign-out of its own goes on at Logto, which checks the address', { status: back === `/oidc/session/end?client_id=${CLIENT.logto}&post_logout_redirect_uri=https%3A%2F%2Fnews.example%2Fbye&state=x&proxy_step=2` ? 200 : 0, code: back });

  // Each secret is a word that is looked for at the other side.
  const basic = (id, secret) => ({ authorization: `Basic ${btoa(`${id}:${secret}`)}` });
  const claims = (id) => Buffer.from(JSON.stringify({ iss: id, sub: id })).toString('base64url');
  let n = 0;
  for (const [side, own, other] of [['mgpass', mgpass, logto], ['logto', logto, mgpass]]) {
    const id = CLIENT[side];
    for (const at of ['/oidc/token', '/oidc/token/', '/oidc/Token', '/oidc/token/revocation']) {
      for (const [form, make] of [
        ['form', (word) => ({ body: new URLSearchParams({ client_id: id, client_secret: word, code: word }) })],
        ['Basic', (word) => ({ headers: basic(id, word), body: new URLSearchParams({ refresh_token: word }) })],
        ['encoded names', (word) => ({ body: `client%5Fid=${id}&refresh_token=${word}`, headers: { 'content-type': 'application/x-www-form-urlencoded' } })],
        ['JSON', (word) => ({ body: JSON.stringify({ client_id: id, client_secret: word }), headers: { 'content-type': 'application/json' } })],
        ['assertion', (word) => ({ body: new URLSearchParams({ client_assertion: `e30.${claims(id)}.${word}`, code: word }) })],
      ]) {
        n += 1;
        const word = `s3cret${n}x`;
        const answer = await fetch(`${url}${at}`, { method: 'POST', ...make(word) });
        await answer.arrayBuffer();
        const marks = [word, btoa(`${id}:${word}`)];
        const isLeaked = marks.some((mark) => other.has(mark));
        refused('secret at the wrong side', `${side}, ${at}, ${form}`, !isLeaked, answer.status);
        if (!marks.some((mark) => own.has(mark))) accepted(`${side}, ${at}, ${form}`, { status: answer.status, code: 'not at its own side' });
      }
    }
    // Both in one request: neither gets it.
    for (const [name, headers, body] of [
      ['Basic and form', basic(CLIENT.mgpass, 'both-s3cret'), { client_id: CLIENT.logto, code: 'both-s3cret' }],
      ['twice in the form', {}, [['client_id', CLIENT[side]], ['client_id', CLIENT[side === 'logto' ? 'mgpass' : 'logto']], ['code', 'both-s3cret']]],
    ]) {
      const answer = await fetch(`${url}/oidc/token`, { method: 'POST', headers, body: new URLSearchParams(body) });
      const isLeaked = [logto, mgpass].some((origin) => origin.has('both-s3cret') || origin.has(btoa(`${CLIENT.mgpass}:both-s3cret`)));
      refused('secret at the wrong side', `clients of both, ${name}`, answer.status === 400 && !isLeaked, answer.status);
    }
  }

  // Tokens go by their issuer, a hint to nobody but its own side, a client's secret for an
  // introspection to the client's own.
  const jwt = (issuer, word) => {
    const now = Math.floor(Date.now() / 1000);
    const part = (text) => Buffer.from(JSON.stringify(text)).toString('base64url');
    return `${part({ alg: 'ES256', kid: 'k' })}.${part({ iss: issuer, sub: word, aud: CLIENT.mgpass, iat: now, exp: now + 600 })}.${Buffer.from(word).toString('base64url')}`;
  };
  const tokens = {
    mgpass: (word) => jwt(mgpass.url, word),
    logto: (word) => jwt('https://auth.example/oidc', word),
    opaque: (word) => word,
  };
  for (const [kind, make] of Object.entries(tokens)) {
    const [own, other] = kind === 'mgpass' ? [mgpass, logto] : [logto, mgpass];
    for (const [road, send] of [
      ['userinfo', (token) => fetch(`${url}/oidc/me`, { headers: { authorization: `Bearer ${token}` } })],
      ['userinfo by a form', (token) => fetch(`${url}/oidc/me`, { method: 'POST', body: new URLSearchParams({ access_token: token }) })],
      ['hint of a sign-out', (token) => fetch(`${url}/oidc/session/end?id_token_hint=${token}&client_id=${CLIENT.logto}`, { redirect: 'manual' })],
    ]) {
      n += 1;
      const token = make(`t0ken${n}x`);
      const answer = await send(token);
      await answer.arrayBuffer();
      refused('token at the wrong side', `${kind}, ${road}`, !other.has(token), answer.status);
      // A hint goes on in the browser, not from here.
      if (!road.startsWith('hint')) accepted(`${kind}, ${road}`, { status: own.has(token) ? 200 : 0, code: 'not at its own side' });
    }
  }
  for (const [side, own, other] of [['mgpass', mgpass, logto], ['logto', logto, mgpass]]) {
    for (const kind of Object.keys(tokens)) {
      n += 1;
      const word = `s3cret${n}y`;
      const answer = await fetch(`${url}/oidc/token/introspection`, { method: 'POST', headers: basic(CLIENT[side], word), body: new URLSearchParams({ token: tokens[kind](`t0ken${n}y`) }) });
      await answer.arrayBuffer();
      const marks = [word, btoa(`${CLIENT[side]}:${word}`)];
      refused('secret at the wrong side', `${side}, introspection of ${kind}`, !marks.some((mark) => other.has(mark)), answer.status);
      accepted(`${side}, introspection of ${kind}`, { status: marks.some((mark) => own.has(mark)) ? 200 : 0, code: 'its secret is not at its own side' });
    }
  }

  const cookie = `${PIN}=${good}; ${ready}; _session=logto-s3cret`;
  await fetch(`${url}/oidc/token`, { method: 'POST', headers: { cookie: '_session=logto-s3cret' }, body: new URLSearchParams({ client_id: CLIENT.mgpass, code: 'c' }) });
  await ask('/_proxy/sign-in/news', { cookie });
  await ask('/_proxy/signed-out', { cookie: `${OUT}=x` });
  // As a browser sends them: by their path to the proxy's own routes alone.
  const browser = new Browser();
  await browser.ask('GET', `${url}/_proxy/sign-in/news`);
  accepted('a browser is given a pin', { status: browser.has(PIN) ? 200 : 0 });
  for (const at of ['/', '/oidc/auth?client_id=x', '/sign-in', '/api/experience', '/oidc/me', '/consent', '/_session']) await browser.ask('GET', `${url}${at}`);
  accepted('it comes back to the link', { status: (await browser.ask('GET', `${url}/_proxy/sign-in/news`)).headers.has('set-cookie') ? 0 : 200 });
  refused('cookie at a backend', "Logto's session at mgPass", !mgpass.has('logto-s3cret'));
  refused('cookie at a backend', "the origin's secret at mgPass", !mgpass.has('origin-s3cret'));
  for (const [name, origin] of [['Logto', logto], ['mgPass', mgpass]]) {
    for (const [what, text] of [['the pin', PIN], ['the mark', READY], ['the sign-out', OUT], ['any of its own', 'dwp_']]) {
      refused('pin at a backend', `${what} at ${name}`, !origin.has(text), {});
    }
    accepted(`requests that could show one at ${name}`, { status: origin.seen.length > 0 ? 200 : 0 });
  }
}
