// The operator's command on the real Worker: a dry run, the import, a look at
// what became of whom, the comparison and its repair.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { compareStores, dwp, fill, root } from '../drills/import/support.mjs';
import { scratch } from '../harness/sandbox/scratch.mjs';
import { controlOf, startSandbox } from '../harness/sandbox/sandbox.mjs';

const PEOPLE = 230;
let store;
let sandbox;
const call = async (args, allowed = [0]) => (await dwp(sandbox.proxy.url, [...args, '--json'], { allowed })).json();

before(async () => {
  const built = spawnSync('cargo', ['build', '--quiet', '-p', 'dwp'], { cwd: root, stdio: 'inherit' });
  assert.equal(built.status, 0);
  store = scratch();
  sandbox = await startSandbox({ persistTo: store.directory, vars: { WALK: 'off' }, tickMs: 1_000 });
  await fill(sandbox.logto, { count: PEOPLE, seed: 5 });
  await controlOf(sandbox.logto).call('PUT', '/listing', { shuffle_ties: true });
}, { timeout: 600_000 });
after(async () => {
  await sandbox.close();
  store.remove();
});

const anybody = (is = () => true) => [...sandbox.logto.users.values()].find(is).id;

test('in stage off only a dry run may start', async () => {
  assert.equal((await call(['import', 'users'], [2])).error.code, 'proxy.stage_off');
  const dry = await call(['import', 'users', '--dry-run', '--watch']);
  assert.deepEqual([dry.state, dry.outcomes.create, (await compareStores(sandbox)).n], ['done', PEOPLE, 0]);
});

test('a rate that does not divide evenly, a pause and a second order', async () => {
  await sandbox.flag('stage', 'dual_write');
  // An isolate's flags are five seconds old at most.
  let started;
  for (let n = 0; n < 20 && started?.id === undefined; n += 1) {
    started = await call(['import', 'users', '--rate', '7000'], [0, 2]);
    if (started.error) await new Promise((resolve) => setTimeout(resolve, 500));
  }
  assert.equal(started.rate_limit, 7_000);
  assert.equal((await call(['import', 'users'], [2])).error.code, 'proxy.job_active');
  assert.equal((await call(['pause', 'users'])).state, 'paused');
  assert.equal((await call(['resume', 'users'])).state, 'running');
  const job = await call(['watch', 'users']);
  assert.deepEqual([job.state, job.outcomes.equal, job.total], ['done', PEOPLE, PEOPLE]);
  const { n, missing, extra, differing } = await compareStores(sandbox);
  assert.deepEqual([n, missing, extra, differing], [PEOPLE, [], [], []]);
});

test('who has a second factor is named, and everybody is in the file of the campaign', async () => {
  const { notes } = await call(['watch', 'users']);
  const note = Object.keys(notes).find((code) => code.startsWith('mfa_not_carried'));
  const { users } = await call(['noted', note], [1]);
  assert.equal(users.length, notes[note]);
  for (const { id } of users) assert.ok(sandbox.logto.users.get(id).mfaVerifications);
  const file = path.join(store.directory, 'campaign.csv');
  const { readiness } = await call(['readiness', '--csv', file]);
  const lines = readFileSync(file, 'utf8').trim().split('\r\n').slice(1).map((line) => line.split(',')[2]);
  const counted = Object.fromEntries(Object.keys(readiness).map((way) => [way, lines.filter((line) => line === way).length]));
  assert.deepEqual([counted, lines.length], [readiness, PEOPLE]);
});

test('equal, then one field changed at mgPass: found, named, repaired', async () => {
  const { report } = await call(['report', '--run']);
  assert.deepEqual([report.is_equal, report.compared, report.unexplained], [true, PEOPLE, 0]);
  const id = anybody((user) => user.name);
  await controlOf(sandbox.mgpass).call('POST', '/users/alter', { id, column: 'name', value: 'somebody else' });
  const found = await call(['report', '--run'], [1]);
  assert.deepEqual([found.report.differing, found.report.unexplained], [1, 1]);
  assert.deepEqual((await call(['differences'], [1])).differences.map((row) => [row.id, row.path]), [[id, 'name']]);
  assert.deepEqual((await call(['explain', id])).mgpass.differs_in, ['name']);
  await call(['report', '--run', '--repair'], [0, 1]);
  for (let n = 0; n < 20 && (await compareStores(sandbox)).differing.length > 0; n += 1) await new Promise((resolve) => setTimeout(resolve, 500));
  assert.equal((await call(['report', '--run'])).report.is_equal, true);
});

test('a user whom mgPass has already is parked, told, and replayed', async () => {
  const id = 'taken0000001';
  sandbox.logto.users.create({ id, primaryEmail: 'held@example.test' });
  await sandbox.databases.mgpass.prepare("INSERT INTO users (id, email, created_at) VALUES ('own', 'held@example.test', 1)").run();
  assert.deepEqual((await call(['import', 'users', '--watch'], [1])).parked, { value_taken_at_mgpass: 1 });
  assert.deepEqual((await call(['parked'], [1])).users.map((user) => [user.id, user.reason]), [[id, 'value_taken_at_mgpass']]);
  assert.equal((await call(['status'], [1])).jobs.users.state, 'done');
  await sandbox.databases.mgpass.prepare("UPDATE users SET email = NULL WHERE id = 'own'").run();
  assert.equal((await call(['replay', '--reason', 'value_taken_at_mgpass'])).subjects, 1);
  for (let n = 0; n < 40 && (await compareStores(sandbox)).missing.length > 0; n += 1) await new Promise((resolve) => setTimeout(resolve, 500));
  assert.equal((await call(['import', 'users', '--watch'])).outcomes.equal, PEOPLE + 1);
});
