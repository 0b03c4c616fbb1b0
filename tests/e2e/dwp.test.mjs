// The operator's command against a proxy of the test's own making: what it sends, what
// it prints where, and its exit status. tests/drills/import runs it against the real Worker.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { text } from 'node:stream/consumers';

import { root, scratch } from './support.mjs';

const TOKEN = 'operator-of-the-test';
const store = scratch();
const routes = new Map();
const asked = [];
let server;

before(async () => {
  const built = spawnSync('cargo', ['build', '--quiet', '-p', 'dwp'], { cwd: root, stdio: 'inherit' });
  assert.equal(built.status, 0);
  await listen();
}, { timeout: 600_000 });
after(async () => {
  await close();
  store.remove();
});

function listen(port = 0) {
  server = http.createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    const { pathname } = new URL(request.url, 'http://proxy');
    const answer = routes.get(`${request.method} ${pathname.replace('/_proxy/', '')}`);
    const [status, body, headers] = request.headers.authorization !== `Bearer ${TOKEN}` ? [401, { code: 'proxy.admin_token_needed', message: 'an admin token is needed' }]
      : answer === undefined ? [404, { code: 'proxy.no_such_route', message: 'the proxy has no such route' }] : answer(request.url);
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(JSON.stringify(body));
  });
  return new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
}

function close() {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(resolve));
}

async function dwp(args, { env = {} } = {}) {
  asked.length = 0;
  const child = spawn(path.join(root, 'target/debug/dwp'), args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH, DWP_URL: `http://127.0.0.1:${server.address().port}`, ADMIN_TOKEN: TOKEN, ...env },
  });
  const [stdout, stderr, status] = await Promise.all([
    text(child.stdout), text(child.stderr), new Promise((resolve) => child.on('close', resolve)),
  ]);
  return { stdout, stderr, status, json: () => JSON.parse(stdout) };
}

const view = (more) => ({
  id: 3, kind: 'users', state: 'running', phase: 'list', dry_run: false, pass: 1, started_at: 1_000, moved_at: 61_000, finished_at: null, total: 200, seen: 100, users: 100,
  rate_limit: null, lanes: 4, last_failure: null, outcomes: { equal: 99, parked: 1 }, parked: { value_taken_at_mgpass: 1 }, logto_ms: 1, mgpass_ms: 1, work_ms: 1, pages: 1, statements: 4, ...more,
});
const report = (more) => ({
  logto_total: 200, compared: 200, equal: 200, differing: 0, missing_at_mgpass: 0, gone_at_logto: 0, only_at_mgpass: 0, explained: 0, unexplained: 0, whole_records_compared: 0,
  differences: [], parked: {}, notes: {}, readiness: {}, balances: null, is_equal: true, started_at: 1_000, finished_at: 61_000, ...more,
});

test('an import is started with what was asked, and the command ends', async () => {
  routes.set('POST import', () => [202, view()]);
  const { status, json } = await dwp(['import', 'users', '--dry-run', '--rate', '5000', '--lanes', '2', '--json']);
  assert.deepEqual([status, json().id, asked], [0, 3, ['POST /_proxy/import?kind=users&dry_run=true&rate=5000&lanes=2']]);
});

test('a watch survives a restart of the proxy, and says by its status how the job ended', async () => {
  const { port } = server.address();
  let n = 0;
  routes.set('GET import', () => {
    n += 1;
    if (n === 1) setTimeout(async () => { await close(); setTimeout(() => listen(port), 1_500); }, 10);
    return n < 3 ? [200, view()] : [200, view({ state: 'done', users: 200, seen: 200, outcomes: { equal: 199, parked: 1 } })];
  });
  const parked = await dwp(['watch', 'users', '--json']);
  assert.equal(parked.status, 1, parked.stderr);
  assert.equal(parked.json().state, 'done');
  assert.match(parked.stderr, /of 200/);
  routes.set('GET import', () => [200, view({ state: 'done', outcomes: { equal: 200 }, parked: {} })]);
  assert.equal((await dwp(['watch', 'users'])).status, 0);
  routes.set('GET import', () => [200, view({ state: 'stopped' })]);
  assert.equal((await dwp(['watch', 'users'])).status, 1);
});

test('a refusal has status 2, its own code, and nothing but one document on standard output', async () => {
  routes.set('POST import', () => [409, { code: 'job_active', message: 'a job of this kind is active' }]);
  const { status, stderr, json } = await dwp(['import', 'users', '--json']);
  assert.deepEqual([status, json().error.code], [2, 'job_active']);
  assert.match(stderr, /a job of this kind is active/);
});

test('without a way to the proxy the status is 2', async () => {
  assert.equal((await dwp(['status'], { env: { ADMIN_TOKEN: 'wrong' } })).status, 2);
  assert.match((await dwp(['status'], { env: { ADMIN_TOKEN: '' } })).stderr, /set ADMIN_TOKEN/);
  assert.match((await dwp(['status'], { env: { DWP_URL: 'http://auth.example.com' } })).stderr, /not https/);
  const dead = await dwp(['status', '--json'], { env: { DWP_URL: 'http://127.0.0.1:9' } });
  assert.deepEqual([dead.status, dead.json().error.code], [2, 'unreachable']);
  assert.equal((await dwp(['import', 'nobody'])).status, 2);
});

test('a redirect is not followed: the token goes nowhere else', async () => {
  let elsewhere = 0;
  routes.set('GET mirror', () => [302, {}, { location: '/_proxy/elsewhere' }]);
  routes.set('GET elsewhere', () => { elsewhere += 1; return [200, {}]; });
  assert.equal((await dwp(['mirror'])).status, 2);
  assert.equal(elsewhere, 0);
});

test('lists are read to their end', async () => {
  routes.set('GET import/users', (url) => [200, url.includes('after=u2')
    ? { users: [{ id: 'u3', outcome: 'parked', reason: 'deleted_at_mgpass', notes: [] }], next: null }
    : { users: [{ id: 'u1', outcome: 'parked', reason: 'id_taken_at_mgpass', notes: ['phone_not_e164'] }, { id: 'u2', outcome: 'parked', reason: 'id_taken_at_mgpass', notes: [] }], next: 'u2' }]);
  const { status, json } = await dwp(['parked', '--reason', 'id_taken_at_mgpass', '--json']);
  assert.deepEqual([status, json().users.map(({ id }) => id)], [1, ['u1', 'u2', 'u3']]);
  assert.match(asked[0], /kind=users&outcome=parked&reason=id_taken_at_mgpass/);
  const lines = (await dwp(['parked'])).stdout.trim().split('\n');
  assert.equal(lines.length, 3);
  assert.match(lines[0], /^u1 +id_taken_at_mgpass +phone_not_e164$/);
});

test('the file of a reset campaign is whole, private and new', async () => {
  const file = path.join(store.directory, 'campaign.csv');
  routes.set('GET import/readiness', (url) => [200, url.includes('count=true') ? { readiness: { email_reset: 1, none: 1 } } : {
    users: [{ id: 'u1', readiness: 'email_reset', had_password: true, email: 'a,"b"@example.test', phone: null }, { id: 'u2', readiness: 'none', had_password: false, email: null, phone: '233200000001' }], next: null,
  }]);
  const done = await dwp(['readiness', '--csv', file, '--json']);
  assert.deepEqual([done.status, done.json()], [0, { readiness: { email_reset: 1, none: 1 } }]);
  assert.equal(readFileSync(file, 'utf8'), 'id,readiness,had_password,email,phone\r\nu1,email_reset,yes,"a,""b""@example.test",\r\nu2,none,no,,233200000001\r\n');
  assert.equal(statSync(file).mode & 0o777, 0o600);
  writeFileSync(file, 'mine');
  assert.equal((await dwp(['readiness', '--csv', file])).status, 2);
  assert.equal(readFileSync(file, 'utf8'), 'mine');
  const broken = path.join(store.directory, 'broken.csv');
  routes.set('GET import/readiness', (url) => (url.includes('count=true') ? [200, { readiness: {} }] : url.includes('after') ? [403, { code: 'proxy.no' }] : [200, { users: [{ id: 'u1' }], next: 'u1' }]));
  assert.equal((await dwp(['readiness', '--csv', broken])).status, 2);
  assert.ok(!existsSync(broken));
});

test('a report is a document, a page for people, and a status', async () => {
  const file = path.join(store.directory, 'report.md');
  const job = view({ id: 8, kind: 'equality', state: 'done' });
  routes.set('POST equality', () => [202, view({ id: 8, kind: 'equality' })]);
  routes.set('GET import', () => [200, job]);
  routes.set('GET equality', () => [200, { ...job, report: report() }]);
  const equal = await dwp(['report', '--run', '--repair', '--markdown', file]);
  assert.equal(equal.status, 0, equal.stderr);
  assert.equal(asked[0], 'POST /_proxy/equality?repair=true');
  assert.match(readFileSync(file, 'utf8'), /\*\*Equal\.\*\* All 200 people/);
  routes.set('GET equality', () => [200, { ...job, report: report({ is_equal: false, differing: 1, unexplained: 1, differences: [{ path: '/name', class: 'value', reason: 'unexplained', users: 1, oldest_at: 1_000 }] }) }]);
  const differs = await dwp(['report']);
  assert.equal(differs.status, 1);
  assert.match(differs.stdout, /\| `\/name` \| value \| 1 \| \*\*no known reason\*\* \| 1 min \|/);
  const document = await dwp(['report', '--json']);
  assert.deepEqual([document.status, document.json().report.unexplained], [1, 1]);
  routes.set('GET equality', () => [200, { ...job, state: 'stopped', report: report() }]);
  assert.equal((await dwp(['report'])).status, 1);
});

test('the status needs a person where somebody is parked or a setting or flag is wrong', async () => {
  routes.delete('GET import');
  const status = (more) => [200, { stage: 'dual_write', setting_faults: [], refused_flags: [], guard: null, outbox: { n_parked: 0 }, ...more }];
  routes.set('GET status', () => status());
  const well = await dwp(['status', '--json']);
  assert.deepEqual([well.status, well.json().jobs], [0, { users: null, points: null, equality: null }]);
  routes.set('GET status', () => status({ outbox: { n_parked: 2 } }));
  assert.equal((await dwp(['status'])).status, 1);
  routes.set('GET status', () => status({ outbox: { failure: 'unreachable' } }));
  assert.equal((await dwp(['status'])).status, 1);
  routes.set('GET status', () => status({ refused_flags: [{ key: 'read_percent', code: 'unreadable' }] }));
  assert.equal((await dwp(['status'])).status, 1);
});

test('orders about users go where they belong', async () => {
  routes.set('POST mirror/replay', () => [200, { subjects: 4 }]);
  routes.set('POST mirror/confirm-deletion', () => [200, { subjects: 1 }]);
  routes.set('GET explain', () => [200, { user: 'u 1', intents: [], mgpass: { differs_in: ['email'] } }]);
  assert.match((await dwp(['replay', '--reason', 'deletion_brake'])).stdout, /^4 users/);
  assert.deepEqual(asked, ['POST /_proxy/mirror/replay?reason=deletion_brake']);
  await dwp(['replay', '--all']);
  assert.deepEqual(asked, ['POST /_proxy/mirror/replay?all=true']);
  await dwp(['confirm-deletion', 'u/1&all=true']);
  assert.deepEqual(asked, ['POST /_proxy/mirror/confirm-deletion?user=u%2F1%26all%3Dtrue']);
  routes.set('POST mirror/overrule', () => [200, { subjects: 1 }]);
  await dwp(['overrule', 'u1']);
  assert.deepEqual(asked, ['POST /_proxy/mirror/overrule?user=u1']);
  assert.match((await dwp(['explain', 'u1'])).stdout, /differs_in: email/);
});
