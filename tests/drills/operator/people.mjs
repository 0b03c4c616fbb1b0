// The morning: one stage at a time, people and points go over, the report. And the
// evening: nothing is wrong, and the history says who did what.

import assert from 'node:assert/strict';

import { people as rewarded } from '../../harness/sandbox/rewards.mjs';
import { SECRETS } from '../../harness/sandbox/sandbox.mjs';
import { codes, read, say, status } from './desk.mjs';

const PEOPLE = 60;

export const people = {
  title: 'The morning: stages, people, points, the report',
  async run(desk) {
    await desk.logto.call('POST', '/users/bulk', { count: PEOPLE, seed: 'operator' });
    for (const person of rewarded) desk.sandbox.logto.users.create(person);

    // Nothing is wrong with a pipe.
    read(await desk.dwp(['status']), /^stage off; Logto is the source of truth since .* UTC/, /NOTICE: The stage is off.*/);
    for (const stage of ['dual_write', 'cutover']) {
      read(await desk.dwp(['flag', 'set', 'stage', stage], 2), /one step at a time/);
    }
    read(await desk.dwp(['import', 'users'], 2), /the stage is off/);
    read(await desk.dwp(['flag', 'set', 'stage', 'shadow', '--reason', 'day one']), /stage: absent -> shadow, in force/);

    // The walk is at work since the stage began, so some may be there already.
    const plan = await desk.dwp(['import', 'users', '--dry-run', '--watch']);
    read(plan, /64 of 64 people seen, .*/);
    const [, toCreate = 0] = /(\d+) would be created/.exec(plan.stdout) ?? [];
    const [, alike = 0] = /(\d+) equal/.exec(plan.stdout) ?? [];
    assert.equal(Number(toCreate) + Number(alike), 64, plan.stdout);
    read(await desk.dwp(['import', 'users', '--watch']), /64 of 64 people seen, 64 equal/);
    // Points that never went over are no unexplained difference.
    const first = await desk.dwp(['report', '--run'], 1);
    read(first, /each for a known reason/, /The points of 4 people were never imported/);
    assert.doesNotMatch(first.stdout, /no known reason: look/);
    const dry = await desk.dwp(['import', 'points', '--dry-run', '--watch'], 1);
    read(dry, /4 would be created, 1 parked/, /adjusted/);
    await desk.dwp(['import', 'points', '--watch'], 1);
    read(await desk.dwp(['import', 'points', '--dry-run', '--watch'], 1), /4 equal, 1 parked/);
    await desk.dwp(['import', 'points', '--watch'], 1);
    read(await desk.dwp(['parked', '--kind', 'points'], 1), /^rewardsghost +unknown_user +import of points .*not_at_mgpass/m);
    // Nobody knows this one: the owner of the points has them taken out, and the operator imports again.
    await desk.sandbox.databases.rewards.batch(['rewards_users', 'rewards_ledger'].map((table) => desk.sandbox.databases.rewards.prepare(`DELETE FROM ${table} WHERE user_id = 'rewardsghost'`)));
    await desk.dwp(['import', 'points', '--watch']);
    read(await desk.dwp(['report', '--run']), /\*\*Equal\.\*\* All 64 people/);
    read(await desk.dwp(['flag', 'set', 'stage', 'dual_write', '--reason', 'all equal']), /stage: shadow -> dual_write, in force/);
    read(await desk.dwp(['status']), /nothing is wrong/, /64 of 64 users eligible/, /report +equal, .* ago/);
  },
};

export const evening = {
  title: 'The evening: nothing is wrong, and the history says who did what',
  async run(desk) {
    read(await desk.dwp(['status']), /reads +asked 100 %.*/, /mgpass +.*/, /ramp +plan \d+ done.*/);
    assert.deepEqual(codes(await status(desk)).filter((code) => code !== 'reads_differ'), []);
    const history = (await desk.dwp(['flag', 'history', '--limit', '100', '--json'])).json().changes;
    say(`  ${history.length} changes noticed`);
    const by = (key) => history.filter((change) => change.key === key);
    assert.ok(by('stage').some(({ value, actor, reason }) => value === 'dual_write' && actor === 'ama' && reason === 'all equal'));
    assert.ok(by('read_percent').some(({ code, actor }) => code === 'unreadable' && actor === null), 'a raw put has no name');
    assert.ok(by('read_percent').some(({ value, actor }) => value === '100' && actor === 'ramp plan'));
    assert.ok(by('read_precent').some(({ code }) => code === 'unknown_key'));
    assert.ok(by('guard').some(({ value }) => value !== null), 'the guard\'s own stop');
    assert.equal(by('authority').at(-1).value, 'logto');
    // What the page draws, of the whole day.
    const answer = await fetch(`${desk.sandbox.proxy.url}/_proxy/history?hours=1`, { headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
    const plot = await answer.json();
    const reads = plot.points.reduce((sum, { mgpass }) => sum + mgpass.reads, 0);
    say(`  ${plot.points.length} points for plots, ${reads} reads of mgPass's, worst backlog ${Math.max(...plot.points.map((point) => point.n_open))}`);
    assert.ok(plot.points.length > 1 && reads > 100);
    assert.ok(plot.points.some(({ realised_bps: realised }) => realised > 5_000));
  },
};
