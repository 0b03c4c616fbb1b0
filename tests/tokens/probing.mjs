// Carry-over is no second way to try passwords: a refused one costs mgPass no call and Logto
// no more than the one that it has had ever since, and neither answer nor time tells an
// unknown user from a wrong password, through the proxy as little as direct.

import { pause, until } from '../harness/sandbox/client.mjs';

const PASSWORD = 'a-long-Password-7';
const OTHERS = 'another-long-Password-7';
const TRIES = 25;
const ROUNDS = 60;

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

export async function probing(place, refused, accepted) {
  const kind = 'password probing by carry-over';
  const { logto, mgpass, api } = place;
  // One whose password mgPass has since they were created, one whose it has not.
  await place.created('kofi', PASSWORD);
  const id = 'probed000001';
  await place.row(id, PASSWORD);
  const other = await place.created('yaa', OTHERS);
  // Whatever creating them has left to do.
  await pause(3_000);
  const nAtMgpass = async () => (await mgpass.counters()).total;
  const counted = async (end) => {
    const { byRoute } = await logto.counters();
    return Object.entries(byRoute).filter(([route]) => route.startsWith('POST ') && route.endsWith(end)).reduce((sum, [, { count }]) => sum + count, 0);
  };
  // At mgPass whatever it is; at Logto the client's own check, and the proxy's by the user's id.
  const counts = async () => [await nAtMgpass(), await counted('/experience/verification/password'), await counted('/password/verify')];

  const { check } = await place.begin();
  for (const [name, username, passwordOf] of [
    ['a wrong password', 'kofi', (n) => `wrong-${n}`],
    ['an unknown user', 'nobody', () => PASSWORD],
    ["another user's password", id, () => OTHERS],
    ['a wrong one of a user whom mgPass does not have', id, (n) => `wrong-${n}`],
    ['an empty password', 'kofi', () => ''],
  ]) {
    const before = await counts();
    for (let n = 0; n < TRIES; n += 1) {
      const answer = await check(username, passwordOf(n));
      await answer.arrayBuffer();
      refused(kind, name, answer.status >= 400 && answer.status < 500, answer.status);
    }
    await pause(300);
    const more = (await counts()).map((after, at) => after - before[at]);
    refused(kind, `${name}: calls at mgPass`, more[0] === 0, more);
    // What never gets as far as a check is none.
    refused(kind, `${name}: at Logto the client's own, and no other`, more[1] === TRIES && more[2] === 0, more);
  }
  const management = await nAtMgpass();
  for (const [name, path] of [['a wrong password', id], ['an unknown user', 'nobody000000']]) {
    const answer = await api('POST', `/users/${path}/password/verify`, { password: 'wrong' });
    refused(kind, `Management API, ${name}`, answer.status >= 400 && answer.status < 500, answer.status);
  }
  await pause(300);
  refused(kind, 'Management API: calls at mgPass', await nAtMgpass() === management, await nAtMgpass() - management);

  await sameAnswers(place, refused, kind);
  await sameTimes(place, refused, kind);

  // What a right one does: each of these counts can be another than none.
  const before = await counts();
  const right = await (await place.begin()).check(id, PASSWORD);
  await until('carried', async () => (await place.stateOf(id)) === 'carried', { withinMs: 20_000, everyMs: 300 });
  const more = (await counts()).map((after, at) => after - before[at]);
  accepted('the right password is carried, which is counted at both', { status: right.status === 200 && more.every((n) => n > 0) ? 200 : 0, code: `${more}` });
  const verified = await api('POST', `/users/${other}/password/verify`, { password: OTHERS });
  accepted('the right password, Management API', { status: verified.status === 204 ? 200 : verified.status });
}

const shown = async (answer) => ({ status: answer.status, names: [...answer.headers.keys()].sort().join(), type: answer.headers.get('content-type'), body: await answer.text() });

async function sameAnswers(place, refused, kind) {
  for (const [where, at] of [['through the proxy', place.origin], ['direct', place.sandbox.logto.url]]) {
    const { check } = await place.begin(at);
    const wrong = await shown(await check('kofi', 'wrong-password'));
    const unknown = await shown(await check('nobody', 'wrong-password'));
    refused(kind, `unknown and wrong answer alike, ${where}`, JSON.stringify(wrong) === JSON.stringify(unknown), { wrong, unknown });
  }
}

// Interleaved, so that a busy machine slows all alike. The proxy may not tell them apart by more
// than Logto alone does, beyond the noise of these very measurements.
async function sameTimes(place, refused, kind) {
  const ways = { proxy: (await place.begin()).check, direct: (await place.begin(place.sandbox.logto.url)).check };
  const times = {};
  const measure = async (way, who) => {
    const began = performance.now();
    await (await ways[way](who === 'wrong' ? 'kofi' : 'nobody', 'wrong-password')).arrayBuffer();
    (times[`${way} ${who}`] ??= []).push(performance.now() - began);
  };
  for (let round = 0; round < ROUNDS; round += 1) {
    const order = ['wrong', 'unknown'].flatMap((who) => ['proxy', 'direct'].map((way) => [way, who]));
    if (round % 2) order.reverse();
    for (const [way, who] of order) await measure(way, who);
  }
  const gap = (way) => Math.abs(median(times[`${way} wrong`]) - median(times[`${way} unknown`]));
  const spread = (values) => median(values.map((value) => Math.abs(value - median(values))));
  // Four standard errors of a difference of two medians, from the median deviation.
  const noise = 4 * 1.2533 * 1.4826 * Math.hypot(...['wrong', 'unknown'].map((who) => spread(times[`proxy ${who}`]))) / Math.sqrt(ROUNDS);
  const found = { proxyGapMs: gap('proxy').toFixed(2), directGapMs: gap('direct').toFixed(2), noiseMs: noise.toFixed(2) };
  console.log(`unknown user and wrong password, median apart: through the proxy ${found.proxyGapMs} ms, direct ${found.directGapMs} ms, noise ${found.noiseMs} ms (${ROUNDS} each)`);
  refused(kind, 'unknown and wrong take as long', gap('proxy') <= gap('direct') + noise, found);
  // A difference that is there is found by this very measure.
  const slowed = times['proxy wrong'].map((value) => value + 2 * noise + gap('direct') + gap('proxy'));
  const isFound = Math.abs(median(slowed) - median(times['proxy unknown'])) > gap('direct') + noise;
  refused(kind, 'a difference beyond the noise would be seen', isFound, found);
}
