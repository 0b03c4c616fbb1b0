// A ramp plan to 100: steps after a pass each, a bad step that goes back and is resumed,
// a hand in between. Readers are at work all the time; they must not notice.

import assert from 'node:assert/strict';

import { pause } from '../../harness/sandbox/client.mjs';
import { read, say, status } from './desk.mjs';

const READERS = 8;

export const ramp = {
  title: 'A ramp plan to 100, with a bad step',
  async run(desk) {
    await desk.dwp(['flag', 'set', 'compare_percent', '100']);
    const traffic = startReaders(desk);
    try {
      await climb(desk);
    } finally {
      await traffic.stop();
    }
    say(`  ${traffic.reads} reads, ${traffic.errors} errors that a client saw`);
    assert.equal(traffic.errors, 0);
  },
};

const plan = async (desk) => (await status(desk)).ramp;
async function at(desk, bps) {
  let last;
  await desk.until(() => `${bps / 100} % in force: ${JSON.stringify(last)}`, async () => {
    const { ramp: now, reads } = await status(desk);
    last = { waits_for: now.waits_for, reads: now.reads, window: reads };
    assert.ok(now.state === 'running' || now.in_force_bps === bps, `the plan is ${now.state}: ${now.why}`);
    return now.in_force_bps === bps;
  }, 120_000);
}
const becomes = (desk, state, why) => desk.until(`the plan is ${state}`, async () => {
  const now = await plan(desk);
  return now.state === state && now.why === why;
}, 120_000);

async function climb(desk) {
  read(await desk.dwp(['ramp', 'start', '--steps', '50,10'], 2), /the steps do not rise/);
  read(await desk.dwp(['ramp', 'start', '--steps', '20,40,70,100', '--hold', '5s', '--min-reads', '20', '--reason', 'the day']), /plan 1 running: 0 % in force, 0 of 4 steps/);
  read(await desk.dwp(['ramp', 'start', '--steps', '5'], 2), /a ramp plan is running or paused/);
  await at(desk, 2_000);
  read(await desk.dwp(['ramp', 'status']), /20 % in force, 1 of 4 steps; waits for .*/);
  await at(desk, 4_000);

  // The step to 70 is a bad one: mgPass fails.
  await at(desk, 7_000);
  await desk.mgpass.faults([{ match: { path: '^/api/users' }, status: 503, body: { error: 'unavailable' } }]);
  await becomes(desk, 'aborted', 'error_rate');
  const back = await desk.until('40 % asked again', async () => (await status(desk)).read_bps === 4_000, 20_000);
  assert.ok(back);
  read(await desk.dwp(['ramp', 'status'], 1), /aborted: 70 % in force.*because of error_rate.*|aborted.*/, /aborted +40 % +error_rate/);
  read(await desk.dwp(['status'], 1), /CRITICAL: The guard has stopped the ramp \(error_rate\).*/, /WARNING: The ramp plan was aborted \(error_rate\).*/);
  // Not while the guard holds, and not before mgPass is well.
  read(await desk.dwp(['ramp', 'resume'], 2), /the guard is set/);
  await desk.mgpass.faults([]);
  read(await desk.dwp(['flag', 'unset', 'guard', '--reason', 'mgPass is back']), /guard: .* -> absent, in force/);
  read(await desk.dwp(['ramp', 'resume', '--reason', 'mgPass is back']), /plan 1 running: 40 % in force/);
  await at(desk, 7_000);

  // A colleague flips the share by hand: the plan rests and says so.
  await desk.wrangler(['kv', 'key', 'put', 'read_percent', '55', '--binding', 'FLAGS']);
  await becomes(desk, 'paused', 'changed_by_hand');
  read(await desk.dwp(['status'], 1), /WARNING: The ramp plan rests: somebody changed read_percent by hand\..*/);
  read(await desk.dwp(['ramp', 'resume']), /plan 1 running: 55 % in force/);
  await at(desk, 7_000);
  await desk.dwp(['ramp', 'pause', '--reason', 'lunch']);
  await pause(3_000);
  assert.equal((await plan(desk)).in_force_bps, 7_000);
  await desk.dwp(['ramp', 'resume']);
  await becomes(desk, 'done', null);
  read(await desk.dwp(['ramp', 'status']), /plan 1 done: 100 % in force, 4 of 4 steps/);
  // What was read at 70 % has to leave the window first.
  const reads = await desk.until('more than 90 % realised', async () => {
    const { reads: now } = await status(desk);
    return now.realised_bps > 9_000 && now;
  });
  say(`  asked ${reads.asked_bps / 100} %, realised ${reads.realised_bps / 100} %`);
}

function startReaders(desk) {
  const ids = [...desk.sandbox.logto.users.values()].map(({ id }) => id);
  const traffic = { isOn: true, reads: 0, errors: 0 };
  const reader = async (nth) => {
    for (let n = nth; traffic.isOn; n += READERS) {
      const answer = await desk.ask('GET', `/users/${ids[n % ids.length]}`);
      traffic.reads += 1;
      if (answer.status !== 200) traffic.errors += 1;
      await pause(20);
    }
  };
  const loops = Array.from({ length: READERS }, (_, nth) => reader(nth));
  traffic.stop = async () => {
    traffic.isOn = false;
    await Promise.all(loops);
  };
  return traffic;
}
