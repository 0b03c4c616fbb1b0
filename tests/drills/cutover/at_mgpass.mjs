// While mgPass is the authority: what operators and accidents may do to flags and
// settings; changes at mgPass's own pages; mgPass or `DB` away; changes at Logto that
// nobody may make.

import { userResponse } from '../../harness/backends/logto/users.mjs';
import { inMs, pause, percentile, say, until } from './scene.mjs';
import { clientsWrites, settled } from './judge.mjs';
import { withoutDatabase } from './prepare.mjs';
import { tally } from './traffic.mjs';

const good = ({ status }) => status >= 200 && status < 300;

/** Ten seconds of traffic, and what it came to. */
async function look(scene, traffic, forMs = 8_000) {
  const from = Date.now();
  await pause(forMs);
  const to = Date.now();
  return {
    writes: traffic.writes.filter(({ began }) => began >= from && began < to - 1_000),
    reads: traffic.reads.filter(({ began }) => began >= from && began < to - 1_000),
    through: clientsWrites(scene, from),
  };
}

export async function flagsChangeNothing(scene, traffic) {
  scene.heading('Flags and settings after the hand-over');
  for (const [what, value] of [['kv key delete stage', null], ['stage off', 'off']]) {
    await scene.wrangler('stage', value);
    // Longer than an isolate keeps a flag, and several runs of cron.
    await pause(7_000);
    const seen = await look(scene, traffic);
    const { holder } = await scene.authority();
    const isSo = holder === 'mgpass' && seen.through.length === 0 && seen.writes.length > 0 && seen.writes.every((entry) => good(entry) || entry.status === 404) && seen.reads.every(good);
    scene.expect(`after it, ${what}`, `${holder}; ${seen.writes.length} writes: ${tally(seen.writes)}; reads: ${tally(seen.reads)}; at Logto ${seen.through.length}`, 'nothing changes', isSo);
  }
  await traffic.still();
  const from = Date.now();
  await scene.sandbox.deploy({ MGPASS_AUDIENCES: '' });
  await until('the version with a fault', async () => (await scene.status()).setting_faults?.length > 0, { withinMs: 20_000, everyMs: 500 });
  const ask = traffic.ask;
  const answers = [];
  for (const id of traffic.written.slice(0, 10)) answers.push(await ask('PATCH', `/users/${id}`, { name: 'not to be' }));
  answers.push(await ask('POST', '/users', { username: `fault_${from}` }));
  const through = clientsWrites(scene, from);
  const statuses = tally(answers.map(({ status, text }) => ({ status, code: JSON.parse(text).code })));
  scene.expect('after it, a settings fault: writes', `${statuses}; at Logto ${through.length}`, 'none acknowledged, none at Logto', answers.every(({ status }) => status === 503) && through.length === 0);
  await scene.sandbox.deploy({ MGPASS_AUDIENCES: 'app_proxy,app_console' });
  await until('mended', async () => (await scene.status()).setting_faults?.length === 0, { withinMs: 20_000, everyMs: 500 });
  const { holder } = await scene.authority();
  scene.expect('after it, settings mended', holder, 'mgpass', holder === 'mgpass');
  // Not `dual_write`, which would be the wish for the way back.
  await scene.wrangler('stage', 'cutover');
  traffic.resume();
}

export async function portal(scene, traffic, { n = 20 } = {}) {
  scene.heading("Changes at mgPass's own pages");
  const people = scene.spare.splice(0, n);
  const took = [];
  for (const [index, id] of people.entries()) {
    const began = Date.now();
    const kind = index % 3;
    if (kind === 0) await scene.mgpassApi('PATCH', `/users/${id}`, { name: `Portal ${index}` });
    else if (kind === 1) await scene.mgpassApi('PATCH', `/users/${id}`, { email: `portal.${index}@example.test` });
    else await scene.mgpassApi('POST', `/users/${id}/suspend`, {});
    const isThere = () => {
      const user = scene.users.find(id);
      return kind === 0 ? user.name === `Portal ${index}` : kind === 1 ? user.primaryEmail === `portal.${index}@example.test` : user.isSuspended;
    };
    try {
      took.push((await until('at Logto', isThere, { withinMs: 60_000, everyMs: 50 })).tookMs);
    } catch {
      took.push(Infinity);
      say(`not at Logto: ${id}, kind ${kind}: ${JSON.stringify(await scene.proxyRows('SELECT * FROM debt WHERE subject = ?1', id))} ${JSON.stringify(await scene.proxyRows('SELECT path, source FROM strays WHERE subject = ?1', id))}`);
    }
    if (Date.now() - began > 60_000) break;
  }
  const worst = percentile(took, 1);
  scene.expect("portal changes at Logto after", `p50 ${inMs(percentile(took, 0.5))}, longest ${inMs(worst)}, ${took.length} changes`, 'seconds', took.length === n && worst < 20_000);
  await traffic.quiet();
  await settled(scene);
  traffic.resume();
}

/** mgPass dead: its database, and its API. */
const MGPASS_DEAD = [{ store: 'MGPASS_DB', down: true }];
export async function mgpassOff(scene) {
  await scene.stores(MGPASS_DEAD);
  await scene.mgpass.off();
}
export async function mgpassOn(scene) {
  const [hits] = await scene.stores();
  await scene.mgpass.on();
  return hits;
}

async function sumOfDebt(scene) {
  const { stdout } = await scene.dwp('debt --json', { allowed: [0, 1] });
  return JSON.parse(stdout);
}

export async function mgpassFails(scene, traffic) {
  scene.heading('mgPass fails');
  await traffic.quiet();
  await settled(scene);
  // The feed says up to when Logto has everything.
  const lastWrite = Math.max(...traffic.writes.filter(good).map(({ ended }) => ended));
  await until('no debt, log read to its end since the last write', async () => {
    const sum = await sumOfDebt(scene);
    const ago = sum.log_read_seconds_ago;
    return sum.users === 0 && ago !== null && ago < 10 && Date.now() - (ago + 1) * 1_000 > lastWrite;
  }, { withinMs: 60_000, everyMs: 1_000 });
  await mgpassOff(scene);
  const ids = [...traffic.written.slice(0, 40), ...traffic.read.slice(0, 40)];
  const answers = [];
  for (const id of ids) answers.push([id, await traffic.ask('GET', `/users/${id}`)]);
  const right = answers.filter(([id, { status, text }]) => status === 200 && text === JSON.stringify(userResponse(scene.users.find(id)))).length;
  const times = answers.map(([, { headers }]) => Date.parse(headers.get('x-proxy-as-of')));
  // In full seconds, rounded down.
  const areTrue = times.every((time) => time >= Math.floor(lastWrite / 1_000) * 1_000 && time <= Date.now());
  scene.expect('mgPass dead, debt 0: reads by the fallback', `${right} of ${ids.length} right, as of ${Math.round((Date.now() - Math.min(...times)) / 1_000)} s ago`, 'all, as-of not before the last write', right === ids.length && areTrue);
  const write = await traffic.ask('PATCH', `/users/${ids[0]}`, { name: 'v0' });
  scene.expect('mgPass dead: a write', `${write.status} ${write.json().code}`, 'not acknowledged', write.status >= 500);
  const hits = await mgpassOn(scene);
  scene.expect('mgPass dead: its database was asked', hits, 'more than 0', hits > 0);
  await pause(1_000);

  // Logto does not take what the reverse mirror sends: somebody is owed.
  await scene.logto.faults([{ match: { method: 'PATCH', path: '^/api/users/' }, status: 503, body: 'down' }]);
  const owed = await traffic.ask('PATCH', `/users/${ids[0]}`, { avatar: 'https://cdn.example.test/owed.png' });
  if (owed.status !== 200) throw new Error(`the write that is owed: ${owed.status} ${owed.text}`);
  await mgpassOff(scene);
  const above = [];
  for (const id of ids.slice(0, 20)) above.push(await traffic.ask('GET', `/users/${id}`));
  const isTold = above.every(({ status, headers }) => status === 503 && headers.get('retry-after') !== null);
  scene.expect('mgPass dead, debt above 0: reads', tally(above.map(({ status, text }) => ({ status, code: status >= 400 ? JSON.parse(text).code : undefined }))), 'each a 503 with Retry-After', isTold);
  await mgpassOn(scene);
  await scene.logto.faults([]);
  const { tookMs } = await until('what was owed is at Logto', () => scene.users.find(ids[0]).avatar === 'https://cdn.example.test/owed.png', { withinMs: 60_000 });
  scene.expect('mgPass and Logto back: what was owed at Logto', `after ${inMs(tookMs)}`, 'yes', true);
  await settled(scene);
  traffic.resume();
}

export async function databaseFails(scene, traffic) {
  scene.heading('DB down, after the hand-over');
  Object.assign(traffic, { creates: false });
  traffic.resume();
  await pause(2_000);
  const from = Date.now();
  const seen = await withoutDatabase(scene, traffic, { name: 'after it', forMs: 6_000, after: 500 });
  const reads = seen.reads.filter(good).length;
  const acknowledged = seen.writes.filter(good).length;
  scene.expect('DB down after it: reads answered from rows', `${reads} of ${seen.reads.length}`, 'all', reads === seen.reads.length && reads > 0);
  scene.expect('DB down after it: writes acknowledged', `${acknowledged} of ${seen.writes.length}`, '0', acknowledged === 0 && seen.writes.length > 0);
  await traffic.quiet();
  // A step of an interaction needs to know who is the authority: told so by a 503, and not judged as a sign-in.
  scene.unknowable = { from, to: Date.now() };
  const steps = [...traffic.registrations, ...traffic.signIns].filter(({ began, status }) => began >= from && status !== 200);
  const isTold = steps.every(({ status, code }) => status === 503 || code === 'proxy.start_again');
  scene.expect('DB down after it: sign-ins and registrations', tally(steps.map(({ status, code }) => ({ status, code: /proxy\.[a-z_]+/.exec(code ?? '')?.[0] }))), 'none fails but by a 503 of ours', isTold);
  Object.assign(traffic, { creates: true });
  await settled(scene, { withinMs: 120_000 });
  traffic.resume();
}

/** Somebody changes users at Logto around the proxy while Logto lacks something of them. */
export async function strays(scene, traffic, { n = 12 } = {}) {
  scene.heading('Strays on users with pending debt');
  await traffic.quiet();
  await settled(scene);
  const people = scene.spare.splice(0, n);
  await scene.logto.faults([{ match: { method: 'PATCH', path: '^/api/users/' }, status: 503, body: 'down' }]);
  for (const id of people) {
    const answer = await traffic.ask('PATCH', `/users/${id}`, { avatar: `https://cdn.example.test/${id}.png` });
    if (answer.status !== 200) throw new Error(`a write before a stray: ${answer.status} ${answer.text}`);
  }
  const pending = await scene.proxyRow(`SELECT count(DISTINCT subject) AS n FROM intents WHERE side = 'mgpass' AND discharged_at IS NULL AND subject IN (SELECT value FROM json_each(?1))`, JSON.stringify(people));
  // Half on the very field that is pending, half beside it; no audit, no webhook, no request.
  const injected = people.map((id, index) => (index % 2 === 0 ? [id, 'avatar'] : [id, 'name']));
  for (const [id, field] of injected) scene.users.update(id, { [field]: field === 'avatar' ? 'https://stray.example.test/x.png' : `Stray ${id}` });
  await scene.logto.faults([]);
  const found = async () => (await scene.dwp('stray list --json', { allowed: [0, 1] })).json().strays.map(({ subject, path }) => `${subject} ${path}`);
  const wanted = injected.map(([id, field]) => `${id} ${field}`);
  let listed = [];
  await until('all strays', async () => { listed = await found(); return wanted.every((one) => listed.includes(one)); }, { withinMs: 90_000, everyMs: 1_000 }).catch(() => {});
  const missed = wanted.filter((one) => !listed.includes(one));
  scene.expect('strays on users with pending debt', `${wanted.length - missed.length} of ${wanted.length} found by user and field, ${listed.length - (wanted.length - missed.length)} beside; ${pending.n} were in debt`, 'all, 0 beside', missed.length === 0 && listed.length === wanted.length && pending.n === n);
  const overwritten = injected.filter(([id, field]) => (field === 'avatar' ? scene.users.find(id).avatar !== 'https://stray.example.test/x.png' : scene.users.find(id).name !== `Stray ${id}`));
  scene.expect('strays: overwritten at Logto before anybody decided', overwritten.length, '0', overwritten.length === 0);
  const read = await traffic.ask('GET', `/users/${people[0]}`);
  scene.expect('strays: shown to a reader', read.json().avatar?.includes('stray') ? 'yes' : 'no', 'no', read.status === 200 && !read.json().avatar?.includes('stray'));

  // A person decides: one half each way.
  for (const [index, id] of people.entries()) await scene.dwp(`stray resolve ${id} --towards ${index < n / 2 ? 'mgpass' : 'logto'}`);
  const undecided = async () => {
    const left = [];
    for (const [index, [id, field]] of injected.entries()) {
      const row = await scene.mgpassRow('SELECT name, avatar FROM users WHERE id = ?1', id);
      const user = scene.users.find(id);
      // As it is shown: mgPass's name stands for the username where there is none.
      const there = field === 'name' ? user.name || user.username : user.avatar;
      const isStray = field === 'avatar' ? (user.avatar ?? '').includes('stray') : (user.name ?? '').startsWith('Stray ');
      if (row[field] !== there || isStray !== (index >= n / 2)) left.push(`${id} ${field} ${index < n / 2 ? 'towards mgpass' : 'towards logto'}: ${there} at Logto, ${row[field]} at mgPass`);
    }
    return left;
  };
  const { tookMs } = await until('strays resolved', async () => (await undecided()).length === 0, { withinMs: 60_000, everyMs: 500 }).catch(() => ({ tookMs: Infinity }));
  for (const line of tookMs === Infinity ? await undecided() : []) say(`not resolved: ${line}`);
  scene.expect('strays resolved, half towards each side', `both sides so after ${inMs(tookMs)}`, 'yes', Number.isFinite(tookMs));
  await settled(scene).catch((error) => say(error.message));
  traffic.resume();
}

