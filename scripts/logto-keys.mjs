// `npm run logto-keys`: the way of a real Logto signing key, from a database seeded
// by Logto's own command line to old tokens accepted after Logto is gone.
//
//   throw-away PostgreSQL -> `@logto/cli db seed` -> `db config get oidc.privateKeys`
//   -> `dwp keys import` -> the edge on workerd, the Logto stand-in stopped
//
// Installs nothing: PostgreSQL must be there (Debian: apt-get install postgresql);
// npx fetches @logto/cli into npm's own cache. Leaves nothing behind.
import { spawn, spawnSync } from 'node:child_process';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

import { SignJWT, calculateJwkThumbprint } from 'jose';

import { controlOf, startSandbox } from '../tests/sandbox/sandbox.mjs';
import { ask } from '../tests/tokens/edge.mjs';

const LOGTO_CLI = '@logto/cli@1.40.1';
const LOGTO_API = 'https://default.logto.app/api';
const MAX_LIFETIME_S = 3600;
const root = fileURLToPath(new URL('..', import.meta.url));
const directory = mkdtempSync(path.join(tmpdir(), 'logto-keys-'));
const cleanUp = [() => rmSync(directory, { recursive: true, force: true })];
const failures = [];

function check(what, isSo, found = '') {
  console.log(`${isSo ? 'ok  ' : 'FAIL'} ${what}${isSo || found === '' ? '' : `: ${found}`}`);
  if (!isSo) failures.push(what);
}

// stdout and stderr apart; stdin closed, so that nothing waits for an answer. Not
// the blocking way: what is called asks the stand-ins of this very process.
async function run(command, args, { input = '', env = {}, isTolerated = false } = {}) {
  const child = spawn(command, args, { cwd: root, env: { ...process.env, ...env }, timeout: 300_000 });
  child.stdin.end(input);
  const [stdout, stderr, status] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise((resolve, reject) => child.on('error', reject).on('close', resolve)),
  ]);
  if (status !== 0 && !isTolerated) throw new Error(`${command} ${args[0]} failed:\n${stderr.slice(-2_000)}`);
  return { stdout, stderr, status };
}

function findPostgres() {
  const versions = existsSync('/usr/lib/postgresql') ? readdirSync('/usr/lib/postgresql').sort((a, b) => b - a) : [];
  const folders = [...versions.map((version) => `/usr/lib/postgresql/${version}/bin`), ...(process.env.PATH ?? '').split(':')];
  const bin = folders.find((folder) => existsSync(`${folder}/initdb`) && existsSync(`${folder}/pg_ctl`));
  if (bin === undefined) throw new Error('PostgreSQL is missing: initdb and pg_ctl are neither in /usr/lib/postgresql nor on PATH (Debian: apt-get install postgresql)');
  return bin;
}

// PostgreSQL refuses to run as root: then it runs as the user that its package made.
function asOwner(command, args) {
  if (process.getuid() !== 0) return run(command, args);
  return run('runuser', ['-u', 'postgres', '--', command, ...args]);
}

async function startPostgres() {
  const bin = findPostgres();
  const data = path.join(directory, 'postgres');
  mkdirSync(data, { mode: 0o700 });
  if (process.getuid() === 0) {
    const id = spawnSync('id', ['-u', 'postgres'], { encoding: 'utf8' });
    if (id.status !== 0) throw new Error('there is no user "postgres" to run PostgreSQL as; run this as any user but root');
    chownSync(directory, Number(id.stdout), -1);
    chownSync(data, Number(id.stdout), -1);
  }
  const port = await freePort();
  await asOwner(`${bin}/initdb`, ['-D', data, '-U', 'logto', '-A', 'trust', '-N']);
  const options = `-p ${port} -k ${data} -c listen_addresses=127.0.0.1 -c fsync=off`;
  // Its output goes to the log: an inherited pipe would keep this process waiting.
  await asOwner(`${bin}/pg_ctl`, ['-D', data, '-w', '-l', `${data}/log`, '-o', options, 'start']);
  cleanUp.unshift(() => asOwner(`${bin}/pg_ctl`, ['-D', data, '-m', 'immediate', 'stop']));
  return `postgres://logto@127.0.0.1:${port}/logto`;
}

function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

async function jwkOf(pem) {
  const jwk = createPublicKey(createPrivateKey(pem)).export({ format: 'jwk' });
  return { ...createPrivateKey(pem).export({ format: 'jwk' }), use: 'sig', kid: await calculateJwkThumbprint(jwk), ...(jwk.crv === 'P-384' ? { alg: 'ES384' } : {}) };
}

async function main() {
  const database = await startPostgres();
  console.log('PostgreSQL runs; seeding it by Logto\'s command line');
  const logto = async (...args) => (await run('npx', ['--yes', LOGTO_CLI, ...args], { env: { DB_URL: database, CI: '1' } })).stdout;
  await logto('db', 'seed');
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
    const stop = Math.floor(Date.now() / 1000) + 5;
    const issuer = `${sandbox.proxy.url}/oidc`;
    const imported = await run('cargo', ['run', '--quiet', '--features', 'cli', '--bin', 'dwp', '--', 'keys', 'import',
      '--input', '-', '--issuer', issuer, '--stopped-at', String(stop), '--max-lifetime', String(MAX_LIFETIME_S),
      '--sunset', String(stop + 86_400), '--jwks-url', `${sandbox.logto.url}/oidc/jwks`,
      '--private-out', at('private.pem'), '--kv-out', at('imported.json')], { input: exported });
    console.log(imported.stdout.trimEnd().replaceAll(/^/gm, '     '));
    const value = readFileSync(at('imported.json'), 'utf8');
    const kids = JSON.parse(value).keys.map(({ kid }) => kid);
    check('the key ids are those of other software', JSON.stringify(kids) === JSON.stringify(keys.map(({ kid }) => kid)));
    check('the private file has mode 600', (statSync(at('private.pem')).mode & 0o777) === 0o600);
    check('nothing private on the terminal', !/PRIVATE/.test(imported.stdout + imported.stderr) && !/PRIVATE|"d"/.test(value));
    await atTheEdge(sandbox, { value, stop, issuer, keys, at });
  } finally {
    await sandbox.close();
  }
}

async function atTheEdge(sandbox, { value, stop, issuer, keys, at }) {
  const { url } = sandbox.proxy;
  const token = await freshToken(url);
  // mgPass takes the private file, as an operator pastes it into its console.
  const mgpass = controlOf(sandbox.mgpass);
  for (const pem of readFileSync(at('private.pem'), 'utf8').match(/-----BEGIN[^]+?-----END [A-Z ]+-----/g)) {
    await mgpass.call('POST', '/imported-keys', { issuer, pem, stopped_at: stop, max_lifetime: MAX_LIFETIME_S });
  }
  writeFileSync(at('token'), token, { mode: 0o600 });
  const accepted = await run('cargo', ['run', '--quiet', '--features', 'cli', '--bin', 'dwp', '--', 'keys', 'check',
    '--token', at('token'), '--introspection', `${sandbox.mgpass.url}/token/introspect`, '--client-id', 'app_newsroom'],
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
