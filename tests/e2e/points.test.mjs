// Points from a rewards database to mgPass, on workerd: users imported first, then
// their points by the same jobs over the Queue. mgPass's own reconcile, asked of every
// user, is the judge.
//
// Steps: a dry run changes nothing; the import carries history, balances and tiers and
// names whom it parks; reconcile finds no drift; four more imports change nothing; what
// mgPass credits is left alone; a changed source is followed; the report of equality.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { scratch } from '../harness/sandbox/scratch.mjs';
import { pause, until } from '../harness/sandbox/client.mjs';
import { people, seedRewards } from '../harness/sandbox/rewards.mjs';
import { controlOf, SECRETS, startSandbox } from '../harness/sandbox/sandbox.mjs';

const GENERATED = 230;
// More than one portion of entries.
const BUSY = 2_300;
let sandbox;
let store;
let mgpass;
let rewards;

before(async () => {
  store = scratch();
  sandbox = await startSandbox({
    persistTo: store.directory, vars: { WALK: 'off' }, tickMs: 1_000, logto: { seed: { users: people } },
  });
  mgpass = controlOf(sandbox.mgpass);
  ({ rewards } = sandbox.databases);
  await sandbox.flag('stage', 'dual_write');
  await sandbox.tick();
  await controlOf(sandbox.logto).call('POST', '/users/bulk', { count: GENERATED });
  await seedRewards(rewards);
  const ids = [...sandbox.logto.users.values()].map(({ id }) => id).filter((id) => !id.startsWith('rewards')).sort();
  const json = JSON.stringify(ids);
  await rewards.batch([
    rewards.prepare(
      `INSERT INTO rewards_users (user_id, total_points, lifetime_earned, tier)
       SELECT value, 10 * key, 100 * key, CASE WHEN key >= 100 THEN 'gold' ELSE 'bronze' END FROM json_each(?)`,
    ).bind(json),
    rewards.prepare(
      `INSERT INTO rewards_ledger (id, user_id, event_type, platform, points, reference_id, metadata, status, created_at)
       SELECT 'g' || w.key || '-' || n.key, w.value, 'purchase', 'newsroom', 10 * w.key, 'the same', '{"n":' || n.key || ',"ü":"\\""}',
         CASE n.key WHEN 0 THEN 'posted' ELSE 'voided' END, 1700000000 + w.key FROM json_each(?) w, json_each('[0,1]') n`,
    ).bind(json),
    rewards.prepare(
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${BUSY})
       INSERT INTO rewards_ledger (id, user_id, event_type, points, created_at) SELECT 'busy' || i, 'rewardsyaw01', 'survey', 1, i FROM n`,
    ),
  ]);
  assert.equal((await run('users')).outcomes.equal, GENERATED + people.length);
});

after(async () => {
  await sandbox.close();
  store.remove();
});

async function admin(method, route) {
  const answer = await fetch(sandbox.proxy.url + route, { method, headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${route}: ${answer.status} ${text}`);
  return JSON.parse(text);
}

// A whole job, to its end.
async function run(kind, more = '') {
  await admin('POST', `/_proxy/import?kind=${kind}${more}`);
  const ended = async () => {
    const view = await admin('GET', `/_proxy/import?kind=${kind}&detail=true`);
    return view.state === 'done' && view;
  };
  return (await until(`the import of ${kind}`, ended, { withinMs: 60_000 })).answer;
}

const lines = (text) => text.trim().split('\n').filter(Boolean).map((line) => JSON.parse(line));
const balances = async () => lines(await mgpass.call('GET', '/rewards'));
const ledger = async () => lines(await mgpass.call('GET', '/rewards/ledger'));

// The documented call, for each user, from addresses that the limit does not meet.
async function reconcileAll(users) {
  const { access_token: token } = await mgpass.call('POST', '/tokens', { client_id: 'app_proxy' });
  const answers = [];
  for (const [nth, { user_id: id }] of users.entries()) {
    const headers = { authorization: `Bearer ${token}`, 'cf-connecting-ip': `198.51.100.${nth % 250}` };
    answers.push(await (await fetch(`${sandbox.mgpass.url}/api/rewards/reconcile/${id}`, { method: 'POST', headers })).json());
  }
  return answers;
}

test('a dry run says what would be, and changes nothing', async () => {
  const view = await run('points', '&dry_run=true');
  assert.equal(view.total, GENERATED + people.length + 1);
  assert.deepEqual(view.parked, { unknown_user: 1 });
  assert.deepEqual([view.outcomes.create, view.outcomes.equal], [GENERATED + people.length, 0]);
  assert.ok(view.notes.adjusted > 0, 'adjustments are foreseen');
  assert.equal((await ledger()).length, 0);
});

test('history, balances and tiers go over, and mgPass\'s reconcile finds nothing to change', async () => {
  const view = await run('points');
  assert.deepEqual([view.outcomes.equal, view.parked], [GENERATED + people.length, { unknown_user: 1 }]);
  const { users } = await admin('GET', '/_proxy/import/users?kind=points&outcome=parked');
  assert.deepEqual(users, [{ id: 'rewardsghost', outcome: 'parked', reason: 'unknown_user', notes: ['not_at_mgpass'] }]);
  const held = await balances();
  const { results: stored } = await rewards.prepare(
    "SELECT user_id, total_points, lifetime_earned, tier FROM rewards_users WHERE user_id <> 'rewardsghost' ORDER BY user_id",
  ).all();
  assert.deepEqual(held.map(({ updated_at: _, ledger_sum: _sum, n_entries: _n, ...row }) => row), stored);
  const entries = (await ledger()).filter(({ id }) => id.startsWith('pts_lm_e_'));
  assert.equal(entries.length, (await rewards.prepare("SELECT count(*) AS n FROM rewards_ledger WHERE user_id <> 'rewardsghost'").first('n')));
  assert.deepEqual(entries.find(({ id }) => id === 'pts_lm_e_rwl_rewardsama01_0'), {
    id: 'pts_lm_e_rwl_rewardsama01_0', user_id: 'rewardsama01', event_type: 'purchase', platform: 'newsroom', points: 2_600,
    rule_version: 'v3', reference_id: 'order-5512', metadata: '{"amount":2600,"currency":"GHS"}', created_at: 1_767_225_600,
  });
  const busy = held.find(({ user_id: id }) => id === 'rewardsyaw01');
  assert.deepEqual([busy.n_entries, busy.ledger_sum], [BUSY + 1, 50]);
  const answers = await reconcileAll(held);
  assert.equal(answers.length, GENERATED + people.length);
  for (const answer of answers) assert.deepEqual([answer.drift, answer.fixed], [0, false]);
  assert.ok(view.notes['tier_mismatch:gold>silver'] > 0, JSON.stringify(view.notes));
});

test('four more imports change nothing', async () => {
  const before = [await balances(), await ledger()];
  for (let time = 0; time < 4; time += 1) assert.equal((await run('points')).outcomes.equal, GENERATED + people.length);
  assert.deepEqual([await balances(), await ledger()], before);
});

test('what mgPass credits is left alone, and a changed source is followed', async () => {
  await mgpass.call('POST', '/rewards/credit', { credits: [{ user_id: 'rewardsama01', points: 25 }] });
  const credited = (await balances()).find(({ user_id: id }) => id === 'rewardsama01');
  assert.equal(credited.total_points, 1_865);
  await rewards.batch([
    rewards.prepare("UPDATE rewards_users SET total_points = 1 WHERE user_id IN ('rewardsama01', 'rewardskofi1')"),
    rewards.prepare("UPDATE rewards_ledger SET status = 'expired' WHERE user_id = 'rewardskofi1'"),
  ]);
  const view = await run('points');
  assert.deepEqual(view.parked, { unknown_user: 1, earned_at_mgpass: 1 });
  const now = await balances();
  assert.deepEqual(now.find(({ user_id: id }) => id === 'rewardsama01'), credited);
  const kofi = now.find(({ user_id: id }) => id === 'rewardskofi1');
  assert.deepEqual([kofi.total_points, kofi.ledger_sum, kofi.n_entries], [1, 1, 4], 'three entries and one adjustment');
  assert.deepEqual((await mgpass.call('POST', '/rewards/reconcile', {})).drifted, []);
});

test('the report of equality compares balances too', async () => {
  await admin('POST', '/_proxy/equality');
  const report = async () => {
    const view = await admin('GET', '/_proxy/equality');
    return view.state === 'done' && view.report;
  };
  await pause(100);
  const { answer } = await until('the report', report, { withinMs: 60_000 });
  assert.equal(answer.balances.compared, GENERATED + people.length);
  const paths = answer.differences.map(({ path, users }) => [path, users]).sort();
  assert.deepEqual(paths, [['balance.lifetime_earned', 1], ['balance.total_points', 1]]);
});
