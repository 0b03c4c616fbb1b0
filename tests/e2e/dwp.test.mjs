// The operator's command against a proxy of the test's own making: what it sends, what
// it prints where, and its exit status. tests/drills/import runs it against the real Worker.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { text } from 'node:stream/consumers';

import { scratch } from '../harness/sandbox/scratch.mjs';
import { root } from './support.mjs';

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
  routes.set('POST import', () => [409, { code: 'proxy.job_active', message: 'a job of this kind is active' }]);
  const { status, stderr, json } = await dwp(['import', 'users', '--json']);
  assert.deepEqual([status, json().error.code], [2, 'proxy.job_active']);
  assert.match(stderr, /a job of this kind is active/);
});

test('a wrong token, a wrong address and a malformed id are told apart, each with status 2', async () => {
  const fails = async (args, env, code, words) => {
    const failed = await dwp([...args, '--json'], { env });
    assert.deepEqual([failed.status, failed.json().error.code], [2, code], failed.stderr);
    assert.match(failed.stderr, words);
  };
  routes.set('GET status', () => [200, status()]);
  await fails(['status'], { ADMIN_TOKEN: 'wrong' }, 'admin_token_refused', /does not take this admin token \(ADMIN_TOKEN\)/);
  await fails(['status'], { ADMIN_TOKEN: '' }, 'no_admin_token', /set ADMIN_TOKEN/);
  await fails(['status'], { DWP_URL: 'http://auth.example.com' }, 'plain_http', /not https/);
  await fails(['status'], { DWP_URL: 'http://127.0.0.1:9' }, 'unreachable', /nothing answers at http:\/\/127.0.0.1:9 \(--url or DWP_URL\)/);
  // Somebody answers, and it is not the proxy: Logto's own 401, and a page.
  routes.set('GET mirror', () => [401, { code: 'auth.unauthorized', message: 'Unauthorized.' }]);
  await fails(['mirror'], {}, 'not_the_proxy', /is not the proxy/);
  await fails(['explain', 'two words'], {}, 'malformed_user_id', /"two words" is no user id/);
  assert.deepEqual(asked, [], 'nobody was asked');
  assert.equal((await dwp(['import', 'nobody'])).status, 2);
  assert.equal((await dwp(['import', 'users', '--lanes', '999'])).status, 2);
});

test('a redirect is not followed: the token goes nowhere else', async () => {
  let elsewhere = 0;
  routes.set('GET mirror', () => [302, {}, { location: '/_proxy/elsewhere' }]);
  routes.set('GET elsewhere', () => { elsewhere += 1; return [200, {}]; });
  assert.equal((await dwp(['mirror'])).status, 2);
  assert.equal(elsewhere, 0);
});

test('lists are read to their end', async () => {
  const parked = (id, reason, list = 'mirror', more = {}) => ({ id, list, dry_run: false, reason, since: 1_800_000_000_000, notes: [], ...more });
  routes.set('GET parked', (url) => [200, url.includes('after=mirror%2Fu2') || url.includes('after=mirror/u2')
    ? { users: [parked('u3', 'unknown_user', 'points', { notes: ['no_source_record'] })], next: null }
    : { users: [parked('u1', 'id_taken_at_mgpass'), parked('a-user-with-a-very-long-id-0001', 'a_reason_that_is_longer_than_its_column')], next: 'mirror/u2' }]);
  const { status, json } = await dwp(['parked', '--reason', 'id_taken_at_mgpass', '--json']);
  assert.deepEqual([status, json().users.map(({ id }) => id)], [1, ['u1', 'a-user-with-a-very-long-id-0001', 'u3']]);
  assert.match(asked[0], /parked\?reason=id_taken_at_mgpass/);
  const lines = (await dwp(['parked'])).stdout.trim().split('\n');
  assert.equal(lines.length, 3);
  assert.match(lines[0], /^u1 +id_taken_at_mgpass +mirror +2027-01-15 08:00:00 UTC$/);
  assert.match(lines[1], /^a-user-with-a-very-long-id-0001  a_reason_that_is_longer_than_its_column  mirror /);
  assert.match(lines[2], /import of points .* no_source_record$/);
  await dwp(['parked', '--kind', 'points']);
  assert.match(asked[0], /parked\?kind=points/);
  routes.set('GET parked', () => [200, { users: [], next: null }]);
  const nobody = await dwp(['parked']);
  assert.deepEqual([nobody.status, nobody.stdout, nobody.stderr.trim()], [0, '', 'nobody']);
  routes.set('GET import/users', () => [200, { users: [{ id: 'u1', outcome: 'equal', reason: null, notes: ['mfa_not_carried:Totp'] }], next: null }]);
  assert.match((await dwp(['noted', 'mfa_not_carried'])).stdout, /^u1 .*mfa_not_carried:Totp$/m);
  assert.match(asked[0], /note=mfa_not_carried/);
});

test('the file of a reset campaign is whole, private and new', async () => {
  const file = path.join(store.directory, 'campaign.csv');
  routes.set('GET import/readiness', (url) => [200, url.includes('count=true') ? { readiness: { email_reset: 1, none: 1 } } : {
    users: [{ id: 'u1', username: 'ama', readiness: 'email_reset', had_password: true, email: 'a,"b"@example.test', phone: null }, { id: 'u2', readiness: 'none', had_password: false, email: null, phone: '233200000001' }], next: null,
  }]);
  const done = await dwp(['readiness', '--csv', file, '--json']);
  assert.deepEqual([done.status, done.json()], [0, { readiness: { email_reset: 1, none: 1 } }]);
  assert.equal(readFileSync(file, 'utf8'), 'id,username,readiness,had_password,email,phone\r\nu1,ama,email_reset,yes,"a,""b""@example.test",\r\nu2,,none,no,,233200000001\r\n');
  assert.equal(statSync(file).mode & 0o777, 0o600);
  writeFileSync(file, 'mine');
  assert.equal((await dwp(['readiness', '--csv', file])).status, 2);
  assert.equal(readFileSync(file, 'utf8'), 'mine');
  const broken = path.join(store.directory, 'broken.csv');
  routes.set('GET import/readiness', (url) => (url.includes('count=true') ? [200, { readiness: {} }] : url.includes('after') ? [403, { code: 'proxy.no', message: 'no' }] : [200, { users: [{ id: 'u1' }], next: 'u1' }]));
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

const status = (more) => ({
  now: 1_800_000_060_000, stage: 'dual_write', authority: { holder: 'logto', since: 1_800_000_000_000 }, problems: [], read_bps: 0,
  reads: { asked_bps: 0, allowed_bps: 0, users: {} }, outbox: { n_open: 0 }, parked: [], found: [], findings: [], verdicts: [], jobs: [], report: null, ramp: null, flags: [], ...more,
});
const problem = (severity) => ({ code: 'parked', severity, since: 1_800_000_000_000, what: '2 users wait for a person: too_large 2.', do: '`dwp parked` names them.' });

test('the status says first what is wrong, and by its exit status whether somebody has to look', async () => {
  routes.set('GET status', () => [200, status({ jobs: [view()] })]);
  const well = await dwp(['status', '--json']);
  assert.equal(well.status, 0);
  assert.deepEqual([well.json().status.stage, well.json().jobs.users.id, well.json().jobs.points], ['dual_write', 3, null]);
  const screen = (await dwp(['status'])).stdout;
  assert.match(screen, /^stage dual_write; Logto is the source of truth since 2027-01-15 08:00:00 UTC\n\nnothing is wrong\n/);
  assert.match(screen, /^job +import of users 3: running/m);
  for (const [severity, expected] of [['critical', 1], ['warning', 1], ['notice', 0]]) {
    routes.set('GET status', () => [200, status({ problems: [problem(severity)] })]);
    const { status: code, stdout } = await dwp(['status']);
    assert.equal(code, expected, severity);
    assert.match(stdout, new RegExp(`\\n\\n${severity.toUpperCase()}: 2 users wait for a person: too_large 2\\. \\[1 min ago\\]\\n    .dwp parked. names them\\.`));
  }
});

test('a flag is judged, announced, written and waited for', async () => {
  const flag = (value, state) => ({ key: 'read_percent', value, state, code: null, since: null });
  const written = [];
  const kv = http.createServer(async (request, response) => {
    written.push([request.method, request.url, request.headers.authorization, await text(request)]);
    response.writeHead(request.url.includes('broken') ? 500 : 200).end('{}');
  });
  await new Promise((resolve) => kv.listen(0, '127.0.0.1', resolve));
  const env = (account) => ({ CLOUDFLARE_API_TOKEN: 't', CLOUDFLARE_ACCOUNT_ID: account, CLOUDFLARE_API_BASE_URL: `http://127.0.0.1:${kv.address().port}`, DWP_FLAGS_NAMESPACE: 'ns' });
  let nAsked = 0;
  routes.set('GET status', () => [200, status({ flags: [nAsked++ < 2 ? flag(null, 'absent') : nAsked < 4 ? flag('12.5', 'waiting') : flag('12.5', 'set')] })]);
  const orders = [];
  routes.set('POST flags/announce', (url) => { orders.push(url); return [200, { announced: true }]; });
  routes.set('POST flags/notice', (url) => { orders.push(url); return [200, { noticed: 1 }]; });
  const set = await dwp(['flag', 'set', 'read_percent', '12.5', '--remote', '--actor', 'ama', '--reason', 'after lunch'], { env: env('acc') });
  assert.equal(set.status, 0, set.stderr);
  assert.match(set.stdout, /^read_percent: absent -> 12.5, in force/);
  assert.deepEqual(written, [['PUT', '/accounts/acc/storage/kv/namespaces/ns/values/read_percent', 'Bearer t', '12.5']]);
  assert.match(orders[0], /announce\?key=read_percent&value=12.5&actor=ama&reason=after(%20|\+)lunch$/);
  assert.match(orders[1], /notice/);
  assert.ok(nAsked >= 4, 'it waited');
  // Nonsense is refused before anybody is asked; so is what would be no good now.
  for (const [args, code] of [
    [['read_percent', 'fifty'], 'flag_refused'], [['read_percent', '101'], 'flag_refused'], [['read_precent', '5'], 'unknown_flag'],
    [['kill_switch', 'yes'], 'flag_refused'], [['guard', '0'], 'flag_refused'], [['stage', 'dualwrite'], 'flag_refused'],
  ]) {
    const refused = await dwp(['flag', 'set', ...args, '--json'], { env: env('acc') });
    assert.deepEqual([refused.status, refused.json().error.code, asked], [2, code, []], args.join(' '));
  }
  routes.set('GET status', () => [200, status({ stage: 'off', flags: [] })]);
  assert.equal((await dwp(['flag', 'set', 'stage', 'dual_write', '--json'], { env: env('acc') })).json().error.code, 'not_now');
  routes.set('GET status', () => [200, status({ flags: [flag('x', 'set')] })]);
  const failed = await dwp(['flag', 'unset', 'read_percent', '--remote', '--json'], { env: env('broken') });
  assert.deepEqual([failed.status, failed.json().error.code], [2, 'not_written_by_api']);
  assert.equal(written.length, 2);
  // An older proxy that does not take it says so.
  routes.set('GET status', () => [200, status({ flags: [flag('5', 'refused')] })]);
  const older = await dwp(['flag', 'set', 'read_percent', '5', '--remote'], { env: env('acc') });
  assert.equal(older.status, 1);
  assert.match(older.stdout, /does not take it/);
  await new Promise((resolve) => { kv.closeAllConnections(); kv.close(resolve); });
});

test('refused and unknown flags stand first in the list', async () => {
  routes.set('GET status', () => [200, status({ flags: [
    { key: 'stage', value: 'dual_write', state: 'set', code: null, since: 1_800_000_000_000 }, { key: 'salt', value: null, state: 'absent', code: null, since: null },
    { key: 'kill_switch', value: 'yes', state: 'refused', code: 'unreadable_pulled', since: null }, { key: 'read_precent', value: null, state: 'unknown', code: 'unknown_key', since: null },
  ] })]);
  const { status: code, stdout } = await dwp(['flag', 'list']);
  assert.equal(code, 1);
  assert.deepEqual(stdout.split('\n').map((line) => line.split(' ')[0]), ['refused', 'unknown', 'set', 'absent', '']);
  assert.match(stdout, /kill_switch +yes +not taken: it takes on or off/);
  routes.set('GET flags/history', () => [200, { changes: [{ noticed_at: 1_800_000_000_000, kind: 'flag', key: 'stage', before_value: 'off', before_code: null, value: 'shadow', code: null, actor: 'ama', reason: 'go' }] }]);
  assert.match((await dwp(['flag', 'history', '--key', 'stage'])).stdout, /^2027-01-15 08:00:00 UTC  stage +off -> shadow +ama +go$/m);
});

test('a ramp plan is ordered and shown', async () => {
  const plan = (more) => ({ ramp: { id: 1, state: 'running', why: null, steps_bps: [100, 5_000], n_taken: 1, in_force_bps: 100, next_bps: 5_000, waits_for: 'hold', hold_ms: 1_800_000, min_reads: 50, reads: 3, moved_at: 1_800_000_000_000, log: [{ at: 1_800_000_000_000, what: 'started', share: 0, why: null, actor: 'ama' }], ...more } });
  routes.set('POST ramp/start', () => [202, plan()]);
  const started = await dwp(['ramp', 'start', '--steps', '1,50', '--hold', '30m', '--min-reads', '50', '--actor', 'ama']);
  assert.equal(started.status, 0, started.stderr);
  assert.match(asked[0], /ramp\/start\?steps=1(,|%2C)50&hold_s=1800&min_reads=50&actor=ama/);
  assert.match(started.stdout, /plan 1 running: 1 % in force, 1 of 2 steps; waits for the hold of 30 min before 50 %/);
  routes.set('GET ramp', () => [200, plan({ state: 'aborted', why: 'latency', waits_for: null })]);
  assert.equal((await dwp(['ramp', 'status'])).status, 1);
  routes.set('GET ramp', () => [200, { ramp: null }]);
  assert.match((await dwp(['ramp', 'status'])).stdout, /never a plan/);
  routes.set('POST ramp/resume', () => [409, { code: 'proxy.ramp_held', message: 'no ramp plan can go on: the guard is set' }]);
  const held = await dwp(['ramp', 'resume']);
  assert.equal(held.status, 2);
  assert.match(held.stderr, /the guard is set/);
});

test('keys and campaigns are not written where git would take them', async () => {
  const git = (...args) => assert.equal(spawnSync('git', args, { cwd: tree }).status, 0, args.join(' '));
  const tree = path.join(store.directory, 'tree');
  mkdirSync(tree);
  git('init', '--quiet');
  const key = path.join(root, 'tests/data/keys/private.json');
  const pem = path.join(store.directory, 'export.pem');
  writeFileSync(pem, JSON.parse(readFileSync(key, 'utf8')).keys[0].pem);
  const args = (folder) => ['keys', 'import', '--input', pem, '--issuer', 'https://auth.example.com/oidc', '--stopped-at', 'not-yet', '--max-lifetime', '3600', '--sunset', '2030-01-01T00:00:00Z', '--private-out', path.join(folder, 'keys.pem'), '--kv-out', path.join(folder, 'imported-keys.json')];
  const taken = await dwp([...args(tree), '--json']);
  assert.deepEqual([taken.status, taken.json().error.code], [2, 'git_would_take']);
  assert.deepEqual(readdirSync(tree), ['.git']);
  routes.set('GET import/readiness', () => [200, { readiness: {} }]);
  assert.equal((await dwp(['readiness', '--csv', path.join(tree, 'campaign.csv')])).status, 2);
  writeFileSync(path.join(tree, '.gitignore'), 'keys.pem\nimported-keys.json\n');
  assert.equal((await dwp(args(tree))).status, 0);
  assert.equal(spawnSync('git', ['status', '--porcelain'], { cwd: tree, encoding: 'utf8' }).stdout, '?? .gitignore\n');
  // As it is run by the book, in this project.
  for (const file of ['keys.pem', 'imported-keys.json', 'export.txt', 'token.txt', 'campaign.csv']) {
    assert.equal(spawnSync('git', ['check-ignore', '--quiet', file], { cwd: root }).status, 0, file);
  }
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

test('an order about nobody, or about somebody who lives, says so and needs a person', async () => {
  routes.set('POST mirror/replay', () => [404, { code: 'proxy.no_such_user', message: 'neither Logto nor the mirror knows this user' }]);
  routes.set('POST mirror/confirm-deletion', () => [409, { code: 'proxy.user_lives', message: 'Logto still has this user' }]);
  const nobody = await dwp(['replay', '--user', 'nobody', '--json']);
  assert.deepEqual([nobody.status, nobody.json().error.code], [1, 'proxy.no_such_user']);
  const living = await dwp(['confirm-deletion', 'u1']);
  assert.equal(living.status, 1);
  assert.match(living.stderr, /Logto still has this user/);
});

test('findings of the mirror are grouped, with times as times', async () => {
  const finding = (n) => ({ user_id: `u${n}`, code: 'differs', kind: 'repair', paths: ['name'], found_at: 1_800_000_000_000, n_times: 1 });
  routes.set('GET mirror', () => [200, { outbox: { n_open: 0, oldest_ms: 61_000 }, parked: [], walk: { moved_at: 1_800_000_000_000 }, findings: Array.from({ length: 50 }, (_, n) => finding(n)), findings_by_code: [{ code: 'differs', kind: 'repair', n: 312, found_at: 1_800_000_000_000 }] }]);
  const { stdout } = await dwp(['mirror']);
  assert.match(stdout, /- code=differs found_at=2027-01-15 08:00:00 UTC kind=repair n=312/);
  assert.ok(stdout.split('\n').length < 20, stdout);
  assert.doesNotMatch(stdout, /1800000000000/);
  assert.match(stdout, /oldest_ms: 1 min 1 s/);
});
