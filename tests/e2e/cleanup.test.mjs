// Stage `cleanup` through the built Worker and the operator's command: from the first
// request on nothing reaches Logto, which counts what it is asked.
//
//  1. users mirrored, mgPass the authority; Logto's documents and keys kept by the command
//  2. Logto is left alone: users are read, written and made with a token of Logto's; its
//     documents are answered; what only it could answer is refused; webhooks, cron and the
//     Queue go on
//  3. its last token has expired: 410, and where to go
//  4. residue and history go to files, everything is cleared, nothing is left, mgPass works

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { gunzipSync } from 'node:zlib';

import { scratch } from '../harness/sandbox/scratch.mjs';
import { management, managementToken, until } from '../harness/sandbox/client.mjs';
import { controlOf, startSandbox } from '../harness/sandbox/sandbox.mjs';
import { root } from './support.mjs';

const SECRET = 'what-only-this-version-sends';
const store = scratch();
const files = scratch();
const ids = [];
let sandbox;
let ask;
let token;

const rows = async (database, sql) => (await sandbox.databases[database].prepare(sql).all()).results;
const asked = async () => {
  const { total, faulted, byRoute } = await controlOf(sandbox.logto).counters();
  return { n: total + faulted, byRoute };
};
const get = async (route, headers = {}) => {
  const answer = await fetch(sandbox.proxy.url + route, { headers, redirect: 'manual' });
  const body = await answer.text();
  return { status: answer.status, body: answer.headers.get('content-type')?.includes('json') ? JSON.parse(body) : body };
};

async function dwp(...args) {
  const child = spawn(path.join(root, 'target/debug/dwp'), args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, DWP_URL: sandbox.proxy.url, ADMIN_TOKEN: 'operator-of-the-sandbox', DWP_PERSIST_TO: store.directory, USER: 'ama' },
  });
  const [stdout, stderr, status] = await Promise.all([
    text(child.stdout), text(child.stderr), new Promise((resolve) => child.on('close', resolve)),
  ]);
  return { stdout, stderr, status };
}

async function importKeys(stopsInS, sunsetInS) {
  const now = Math.floor(Date.now() / 1_000);
  const { keys } = await (await fetch(`${sandbox.logto.url}/oidc/jwks`, { headers: { 'x-proxy-secret': SECRET } })).json();
  const { KEYS } = await sandbox.proxy.getBindings();
  await KEYS.put('logto', JSON.stringify({
    issuer: `${sandbox.proxy.url}/oidc`, stopped_issuing_at: now + stopsInS, max_lifetime_s: 3_600, sunset: now + sunsetInS, keys,
  }));
}

before(async () => {
  assert.equal(spawnSync('cargo', ['build', '--quiet', '-p', 'dwp'], { cwd: root, stdio: 'inherit' }).status, 0);
  sandbox = await startSandbox({
    persistTo: store.directory, main: process.env.WORKER_MAIN,
    vars: { HANDOVER_SECRET: SECRET, HANDOVER_LEASE_S: '1', WALK: 'off' }, logto: { originSecret: SECRET },
  });
  await sandbox.flag('stage', 'dual_write');
  token = await managementToken(`${sandbox.proxy.url}/oidc`);
  ask = management(sandbox.proxy.url, token);
  for (let n = 0; n < 3; n += 1) ids.push((await ask('POST', '/users', { username: `user_${n}`, name: `v${n}` })).json().id);
  await until('mirrored', async () => {
    await sandbox.tick();
    return (await rows('proxy', 'SELECT count(*) AS n FROM intents WHERE discharged_at IS NULL'))[0].n === 0;
  }, { withinMs: 30_000, everyMs: 300 });
}, { timeout: 600_000 });

after(async () => {
  await sandbox.close();
  store.remove();
  files.remove();
});

async function holder(name, generation) {
  await sandbox.databases.proxy.prepare(`UPDATE authority SET holder = '${name}', generation = ${generation}, since = since - 864000000`).run();
  await sandbox.databases.mgpass.prepare(`UPDATE logto_mirror_authority SET generation = ${generation}`).run();
}

test('what Logto says of itself is kept while it answers', async () => {
  await holder('mgpass', 5);
  await sandbox.reload();
  assert.equal((await ask('PATCH', `/users/${ids[0]}`, { name: 'at mgPass' })).status, 200);
  const kept = await dwp('cleanup', 'keep-issuer');
  assert.deepEqual([kept.status, kept.stdout], [0, "kept: Logto's discovery document and its public keys\n"], kept.stderr);
  await importKeys(600, 7_200);
  const planned = await dwp('cleanup', 'plan');
  assert.equal(planned.status, 1);
  assert.match(planned.stdout, /BLOCKED not_in_cleanup/);
});

test('Logto is asked nothing, whatever comes', async () => {
  await sandbox.flag('stage', 'cleanup');
  await holder('alone', 6);
  await sandbox.reload();
  await controlOf(sandbox.logto).reset();
  const [first] = ids;
  assert.equal((await ask('PATCH', `/users/${first}`, { name: 'alone', username: 'user_alone' })).status, 200);
  assert.deepEqual((await ask('GET', `/users/${first}`)).json().username, 'user_alone');
  const made = await ask('POST', '/users', { username: 'later', customData: { plan: 'pro' } });
  assert.equal(made.status, 200, made.text);
  assert.match(made.json().id, /^[a-z0-9]{12}$/);
  assert.equal((await ask('PATCH', `/users/${first}/password`, { password: 'Vorpal-Blade-42' })).status, 200);
  assert.equal((await ask('DELETE', `/users/${made.json().id}`)).status, 204);
  const discovery = await get('/oidc/.well-known/openid-configuration');
  assert.deepEqual([discovery.status, discovery.body.issuer], [200, `${sandbox.proxy.url}/oidc`]);
  const jwks = await get('/oidc/jwks');
  assert.ok(jwks.status === 200 && jwks.body.keys.length > 0);
  for (const route of ['/', '/sign-in', '/oidc/auth?client_id=x', '/oidc/me', '/api/users', '/api/applications', '/api/my-account', '/consent', '/assets/x.js']) {
    const { status, body } = await get(route, { authorization: `Bearer ${token}` });
    assert.deepEqual([route, status, body.code], [route, 410, 'proxy.logto_retired']);
    assert.match(body.go_to, /\.well-known\/openid-configuration$/);
  }
  const refreshed = await fetch(`${sandbox.proxy.url}/oidc/token`, { method: 'POST', body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: 'x', client_id: 'y' }) });
  assert.deepEqual([refreshed.status, (await refreshed.json()).error], [410, 'invalid_grant']);
  for (let n = 0; n < 3; n += 1) await sandbox.tick();
  const { n, byRoute } = await asked();
  assert.deepEqual([n, byRoute], [0, {}]);
});

test('once its last token has expired its documents are gone, and say where to go', async () => {
  await importKeys(-7_200, -3_600);
  await controlOf(sandbox.logto).reset();
  await sandbox.reload();
  for (const route of ['/oidc/.well-known/openid-configuration', '/oidc/jwks']) {
    const { status, body } = await get(route);
    assert.deepEqual([status, body.code], [410, 'proxy.issuer_ended']);
  }
  assert.equal((await ask('GET', `/users/${ids[0]}`)).status, 410, 'a token of an ended issuer');
  assert.equal((await asked()).n, 0);
});

test('residue and history go to files, all is cleared, nothing is left, and mgPass works', async () => {
  const inFolder = (name) => path.join(files.directory, name);
  const residue = await dwp('cleanup', 'residue', '--to', inFolder('residue.gz'), '--through', 'gzip -c');
  assert.equal(residue.status, 0, residue.stderr);
  const lines = gunzipSync(readFileSync(inFolder('residue.gz'))).toString().trim().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(lines.map(({ id }) => id).sort(), [...ids].sort());
  assert.ok(lines.some((line) => line.residue.username === 'user_alone'));
  const early = await dwp('cleanup', 'run', '--archive', inFolder('history.jsonl'));
  assert.equal(early.status, 1, 'it was used a moment ago');
  assert.match(early.stdout, /BLOCKED route_in_use/);
  assert.equal((await dwp('cleanup', 'route-gone', '--reason', 'a test')).status, 0);
  await sandbox.flag('salt', 'x');
  const run = await dwp('cleanup', 'run', '--archive', inFolder('history.jsonl'));
  assert.equal(run.status, 0, run.stderr + run.stdout);
  const history = readFileSync(inFolder('history.jsonl'), 'utf8');
  const last = JSON.parse(history.trim().split('\n').at(-1));
  const before = history.slice(0, history.lastIndexOf('{"lines"'));
  assert.equal(last.sha256, createHash('sha256').update(before).digest('hex'));
  assert.ok(ids.every((id) => history.includes(id)) && !history.includes('user_alone'), 'ids only');
  const left = await rows('mgpass', "SELECT name FROM sqlite_schema WHERE name LIKE 'logto_mirror%'");
  assert.deepEqual(left, []);
  const { KEYS } = await sandbox.proxy.getBindings();
  await KEYS.delete('logto');
  const verified = await dwp('cleanup', 'verify');
  assert.deepEqual([verified.status, verified.stdout.includes('LEFT')], [0, false], run.stdout + run.stderr + verified.stdout);
  const again = await dwp('cleanup', 'run', '--archive', inFolder('again.jsonl'));
  assert.equal(again.status, 0, 'said again, it finds nothing to do');
  assert.equal((await asked()).n, 0);
}, { timeout: 180_000 });
