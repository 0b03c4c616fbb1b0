// Before anything moves: people at Logto, mgPass's own people, the import, all reads at
// mgPass; what a dead database costs before arming and after; and the gates.

import { mgpassToken } from '../../harness/sandbox/client.mjs';
import { compareStores, group } from '../import/support.mjs';
import { APP, NEW_SECRET, OLD_SECRET, pause, until } from './scene.mjs';
import { lost, settled } from './judge.mjs';
import { startTraffic, tally } from './traffic.mjs';

const OWN_PEOPLE = 25;

export async function prepare(scene, nUsers) {
  scene.heading(`${group(nUsers)} users at Logto, ${OWN_PEOPLE} of mgPass's own, imported by dwp`);
  scene.sandbox.logto.admitOnly([OLD_SECRET]);
  scene.mgpassToken = await mgpassToken(scene.sandbox.mgpass.url);
  scene.ownPeople = [];
  for (let n = 0; n < OWN_PEOPLE; n += 1) {
    const made = await scene.mgpassApi('POST', '/users', { email: `own.${n}@mgpass.example`, password: 'Only-At-Mgpass-1', name: `Own ${n}` });
    scene.ownPeople.push((made.data ?? made.user ?? made).id);
  }
  await scene.logto.call('POST', '/users/bulk', { count: nUsers, seed: 'cutover' });
  await scene.put('stage', 'dual_write', (status) => status.stage === 'dual_write');
  await scene.dwp('import users --no-inspect --watch', { allowed: [0, 1] });
  await scene.put('read_percent', '100', (status) => status.read_bps === 10_000);
  await scene.put('compare_percent', '50', (status) => status.compare_bps === 5_000);
  const stores = await compareStores(scene.sandbox);
  scene.expect('imported, equal by row', `${stores.n} users, ${stores.differing.length + stores.missing.length} differ`, 'all, 0', stores.n === nUsers && stores.differing.length + stores.missing.length === 0);
  const ask = scene.api(await scene.token(APP));
  const ids = [...scene.users.values()].filter((user) => !user.isSuspended).map(({ id }) => id);
  const nWritten = Math.min(300, Math.floor(nUsers / 4));
  const traffic = startTraffic(scene, { ask, written: ids.slice(0, nWritten), read: ids.slice(nWritten) });
  // The later acts take their people from the end.
  scene.spare = ids.slice(-Math.floor(ids.length / 4));
  traffic.read = traffic.read.filter((id) => !scene.spare.includes(id));
  return traffic;
}

const OTHERS = ['/oidc/jwks', '/oidc/.well-known/openid-configuration', '/api/status'];

/** `DB` away for some seconds: who is answered what. */
export async function withoutDatabase(scene, traffic, { name, forMs, after }) {
  await scene.stores([{ store: 'DB', down: true }]);
  await pause(after);
  const from = Date.now();
  const others = [];
  while (Date.now() < from + forMs) {
    for (const route of OTHERS) others.push((await fetch(scene.url + route)).status);
    await pause(200);
  }
  const to = Date.now();
  const [hits] = await scene.stores();
  const began = (list) => list.filter((entry) => entry.began >= from && entry.began <= to);
  // Those that wait longest are told by then.
  await pause(1_500);
  const nOthers = others.filter((status) => status >= 500).length;
  scene.rows.push({ what: `DB down ${name}: writes`, measured: tally(began(traffic.writes)), demanded: '(what it costs)', isSo: hits > 0 });
  scene.rows.push({ what: `DB down ${name}: reads`, measured: tally(began(traffic.reads)), demanded: '(what it costs)', isSo: hits > 0 });
  scene.expect(`DB down ${name}: keys, discovery, health`, `${others.length - nOthers} of ${others.length} answered`, 'all', nOthers === 0 && others.length > 0);
  return { writes: began(traffic.writes), reads: began(traffic.reads), from, to };
}

export async function beforeArming(scene, traffic) {
  scene.heading('DB down, before arming');
  await pause(2_000);
  const seen = await withoutDatabase(scene, traffic, { name: 'before arming', forMs: 6_000, after: 500 });
  const bad = [...seen.writes, ...seen.reads].filter(({ status }) => status >= 500 || status === 0);
  scene.expect('DB down before arming: refused', `${bad.length} of ${seen.writes.length + seen.reads.length}`, '0', bad.length === 0 && seen.writes.length > 10);
  await traffic.quiet();
  // The Queue tries a record again after 30 s; here it lives in workerd's memory, which the
  // next act's new version empties, as no deployment does.
  await pause(Math.max(0, seen.to + 40_000 - Date.now()));
  await settled(scene, { withinMs: 120_000 });
  const tookMs = Date.now() - seen.to;
  const gone = await lost(scene, traffic, 'mgpass');
  scene.expect('DB down before arming: lost', `${gone.length}, all at mgPass ${Math.round(tookMs / 1_000)} s later ${gone.slice(0, 3)}`, '0', gone.length === 0);
}

/** A version that sends the new secret as well; the origin takes both for as long. */
export async function deployNewSecret(scene) {
  scene.sandbox.logto.admitOnly([OLD_SECRET, NEW_SECRET]);
  await scene.sandbox.deploy({ HANDOVER_SECRET: NEW_SECRET });
  await until('the new version answers', async () => (await scene.status()).stage === 'dual_write', { withinMs: 20_000 });
}

async function refusal(scene, line) {
  const { status, stderr } = await scene.dwp(line, { allowed: [0, 1, 2] });
  return status === 2 ? stderr : `status ${status}`;
}

/** As the runbook says; each way in which an origin is not closed is refused by name. */
export async function arm(scene, traffic) {
  scene.heading('Arming');
  await traffic.still();
  const { logto } = scene.sandbox;
  const seen = [];
  const check = async (code) => {
    const said = await refusal(scene, 'handover arm --for 4h');
    seen.push([code, said.includes(code)]);
    if (!said.includes(code)) console.error(`arm, ${code} expected: ${said}`);
  };
  await check('no_handover_secret');
  await deployNewSecret(scene);
  await check('old_secret_taken');
  logto.admitOnly(undefined);
  await check('no_secret_taken');
  logto.admitOnly([OLD_SECRET]);
  await check('new_secret_refused');
  await scene.logto.off();
  await check('origin_unanswered');
  await scene.logto.on();
  logto.admitOnly([NEW_SECRET]);
  await check('status 0');
  scene.expect('arming refused by name, then done', seen.filter(([, isSo]) => isSo).map(([code]) => (code === 'status 0' ? 'armed' : code)).join(', '), 'each', seen.every(([, isSo]) => isSo));
  traffic.resume();
}

export async function whileArmed(scene, traffic) {
  scene.heading('DB down, armed');
  await pause(2_000);
  // Past the lease nobody can say who is the authority.
  const seen = await withoutDatabase(scene, traffic, { name: 'while armed', forMs: 6_000, after: 5_000 });
  const acknowledged = seen.writes.filter(({ status }) => status >= 200 && status < 300).length;
  const refused = seen.writes.filter(({ status }) => status === 503).length;
  scene.expect('DB down while armed: writes acknowledged past the lease', acknowledged, '0, each a 503', acknowledged === 0 && refused === seen.writes.length && refused > 10);
  await until('writes again', () => traffic.writes.at(-1)?.status === 200, { withinMs: 15_000 });
  scene.expect('DB back: writes go on', 'yes', 'yes', true);
}
