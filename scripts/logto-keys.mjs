// `npm run logto-keys`: the way of a real Logto signing key, from a database seeded
// by Logto's own command line to old tokens accepted after Logto is gone.
//
//   throw-away PostgreSQL -> `@logto/cli db seed` -> `db config get oidc.privateKeys`
//   -> `dwp keys import` -> the edge on workerd, the Logto stand-in stopped
//
// Installs nothing: PostgreSQL must be there (Debian: apt-get install postgresql);
// npx fetches @logto/cli into npm's own cache. Leaves nothing behind.
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { SignJWT, calculateJwkThumbprint } from 'jose';

import { controlOf, startSandbox } from '../tests/harness/sandbox/sandbox.mjs';
import { ask } from '../tests/tokens/edge.mjs';
import { run, seedLogto, startPostgres } from './postgres.mjs';

const LOGTO_API = 'https://default.logto.app/api';
const MAX_LIFETIME_S = 3600;
const directory = mkdtempSync(path.join(tmpdir(), 'logto-keys-'));
const cleanUp = [() => rmSync(directory, { recursive: true, force: true })];
const failures = [];

function check(what, isSo, found = '') {
  console.log(`${isSo ? 'ok  ' : 'FAIL'} ${what}${isSo || found === '' ? '' : `: ${found}`}`);
  if (!isSo) failures.push(what);
}

async function jwkOf(pem) {
  const jwk = createPublicKey(createPrivateKey(pem)).export({ format: 'jwk' });
  return { ...createPrivateKey(pem).export({ format: 'jwk' }), use: 'sig', kid: await calculateJwkThumbprint(jwk), ...(jwk.crv === 'P-384' ? { alg: 'ES384' } : {}) };
}

async function main() {
  await run('cargo', ['build', '--quiet', '-p', 'dwp']);
  const { url: database, stop } = await startPostgres(directory);
  cleanUp.unshift(stop);
  console.log('PostgreSQL runs; seeding it by Logto\'s command line');
  const logto = await seedLogto(database);
  for (const kind of ['EC', 'RSA']) {
    if (kind === 'RSA') await logto('db', 'config', 'rotate', 'oidc.privateKeys', '--type', 'rsa');
    await follow(kind, await logto('db', 'config', 'get', 'oidc.privateKeys'));
  }
}

// `exported` is what Logto's command line printed, prefix and all.
async function follow(kind, exported) {
  console.log(`\n${kind}: ${exported.slice(0, exported.indexOf('[') + 1)}...], ${exported.length} characters`);
  const list = JSON.parse(exported.slice(exported.indexOf('[')));
  const keys = await Promise.all(list.map(({ value }) => jwkOf(value)));
  const at = (name) => path.join(directory, `${kind}-${name}`);
  const sandbox = await startSandbox({
    persistTo: at('state'),
    vars: { VERIFY_AUDIENCES: LOGTO_API },
    logto: { keys },
  });
  try {
    // Issued before the instant at which Logto is said to have stopped, however long the rest takes.
    const token = await freshToken(sandbox.proxy.url);
    const stop = Math.floor(Date.now() / 1000) + 2;
    const issuer = `${sandbox.proxy.url}/oidc`;
    const imported = await run('cargo', ['run', '--quiet', '-p', 'dwp', '--', 'keys', 'import',
      '--input', '-', '--issuer', issuer, '--stopped-at', String(stop), '--max-lifetime', String(MAX_LIFETIME_S),
      '--sunset', String(stop + 86_400), '--jwks-url', `${sandbox.logto.url}/oidc/jwks`,
      '--private-out', at('private.pem'), '--kv-out', at('imported.json')], { input: exported });
    console.log(imported.stdout.trimEnd().replaceAll(/^/gm, '     '));
    const value = readFileSync(at('imported.json'), 'utf8');
    const kids = JSON.parse(value).keys.map(({ kid }) => kid);
    check('the key ids are those of other software', JSON.stringify(kids) === JSON.stringify(keys.map(({ kid }) => kid)));
    check('the private file has mode 600', (statSync(at('private.pem')).mode & 0o777) === 0o600);
    check('nothing private on the terminal', !/PRIVATE/.test(imported.stdout + imported.stderr) && !/PRIVATE|"d"/.test(value));
    await atTheEdge(sandbox, { token, value, stop, issuer, keys, at });
  } finally {
    await sandbox.close();
  }
}

async function atTheEdge(sandbox, { token, value, stop, issuer, keys, at }) {
  const { url } = sandbox.proxy;
  // mgPass takes the private file, as an operator pastes it into its console.
  const mgpass = controlOf(sandbox.mgpass);
  for (const pem of readFileSync(at('private.pem'), 'utf8').match(/-----BEGIN[^]+?-----END [A-Z ]+-----/g)) {
    await mgpass.call('POST', '/imported-keys', { issuer, pem, stopped_at: stop, max_lifetime: MAX_LIFETIME_S });
  }
  writeFileSync(at('token'), token, { mode: 0o600 });
  const accepted = await run('cargo', ['run', '--quiet', '-p', 'dwp', '--', 'keys', 'check',
    '--token', at('token'), '--keys', at('imported.json'), '--introspection', `${sandbox.mgpass.url}/token/introspect`, '--client-id', 'app_newsroom'],
  { env: { MGPASS_CLIENT_SECRET: 'mgpass-newsroom-secret' }, isTolerated: true });
  check(`keys check: ${accepted.stdout.trim()}`, accepted.status === 0, accepted.stderr);

  // The edge has not looked at a token yet, so it knows no key of Logto's.
  await controlOf(sandbox.logto).off();
  await (await sandbox.proxy.getBindings()).KEYS.put('logto', value);
  const found = await ask(url, token, { query: 'scope=all' });
  check('Logto stopped: the old token is accepted', found.status === 200, `${found.status} ${found.code}`);

  const [key] = keys;
  const sign = (claims) => new SignJWT({ jti: 'forged', sub: 'anybody', scope: 'all', client_id: 'x', iss: issuer, aud: LOGTO_API, ...claims })
    .setProtectedHeader({ alg: key.alg ?? 'RS256', typ: 'at+jwt', kid: key.kid }).sign(createPrivateKey({ key, format: 'jwk' }));
  const late = await ask(url, await sign({ iat: stop, exp: stop + 600 }), { query: '' });
  check('issued at the recorded instant: refused (issued_after_stop)', late.code === 'issued_after_stop', late.code);
  const long = await ask(url, await sign({ iat: stop - 10, exp: stop - 10 + MAX_LIFETIME_S + 1 }), { query: '' });
  check('longer-lived than recorded: refused (lifetime_too_long)', long.code === 'lifetime_too_long', long.code);
  const status = await (await fetch(`${url}/_proxy/status`, { headers: { authorization: 'Bearer operator-of-the-sandbox' } })).json();
  check('the status shows the imported keys', status.keys.imported.in_force && status.keys.imported.kids.includes(key.kid), JSON.stringify(status.keys));
}

async function freshToken(url) {
  const answer = await fetch(`${url}/oidc/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa('sandboxm2m00000000000:sample-secret-m2m')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', resource: LOGTO_API, scope: 'all' }),
  });
  return (await answer.json()).access_token;
}

try {
  await main();
} catch (error) {
  failures.push(error.message);
  console.error(`logto-keys: ${error.message}`);
} finally {
  for (const step of cleanUp) await step();
}
console.log(failures.length === 0 ? '\nlogto-keys: passed' : '\nlogto-keys: FAILED');
process.exit(failures.length === 0 ? 0 : 1);
