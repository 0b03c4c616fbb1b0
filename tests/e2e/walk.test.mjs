// The walk on the built Worker, both stand-ins behind it.
//
// Steps: the sandbox in stage dual_write, the walk on; two users; one is changed by
// mgPass's own admin API, which leaves an entry in its audit log, the other one's row by
// nobody; cron: the one is kept and parked, and explain says who, the other is repaired;
// an operator overrules. Then two users of a megabyte each in one page, and one above
// what an answer may be: the walk goes on past them, and the last one is parked by name.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { scratch } from '../harness/sandbox/scratch.mjs';
import { management, managementToken, mgpassToken, until } from '../harness/sandbox/client.mjs';
import { controlOf, SECRETS, startSandbox } from '../harness/sandbox/sandbox.mjs';

let sandbox;
let store;
let ask;
const events = [];

before(async () => {
  store = scratch();
  sandbox = await startSandbox({ persistTo: store.directory, tickMs: 1_000, onLog: (line) => line.startsWith('{"event"') && events.push(JSON.parse(line)) });
  await sandbox.flag('stage', 'dual_write');
  ask = management(sandbox.proxy.url, await managementToken(`${sandbox.proxy.url}/oidc`));
}, { timeout: 120_000 });
after(async () => {
  await sandbox.close();
  store.remove();
});

const mgpassRow = (id) => sandbox.databases.mgpass.prepare('SELECT * FROM users WHERE id = ?').bind(id).first();
const operator = async (method, route) => {
  const answer = await fetch(`${sandbox.proxy.url}/_proxy/${route}`, { method, headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
  assert.equal(answer.status, 200);
  return answer.json();
};
const parked = async (id) => (await operator('GET', `explain?user=${id}`)).reconcile?.parked;
const withinMs = 60_000;

test('a change in mgPass\'s own rows: kept where somebody made it, repaired where nobody did', async () => {
  const [edited, altered] = (await Promise.all(['edited', 'altered'].map((username) => ask('POST', '/users', { username, name: 'As in Logto' })))).map((answer) => answer.json().id);
  await until('both are at mgPass', async () => (await mgpassRow(edited)) && (await mgpassRow(altered)), { withinMs });
  const admin = management(sandbox.mgpass.url, await mgpassToken(sandbox.mgpass.url));
  assert.equal((await admin('PATCH', `/users/${edited}`, { name: 'As mgPass\'s admin says' })).status, 200);
  await controlOf(sandbox.mgpass).call('POST', '/users/alter', { id: altered, column: 'name', value: 'by nobody' });
  await until('the one is parked', async () => (await parked(edited)) === 'edited_at_mgpass', { withinMs });
  await until('the other is repaired', async () => (await mgpassRow(altered)).name === 'As in Logto', { withinMs });
  assert.equal((await mgpassRow(edited)).name, 'As mgPass\'s admin says');
  const { mgpass } = await operator('GET', `explain?user=${edited}`);
  assert.deepEqual(mgpass.changed_there, { altered: [], kept: ['name'], overruled: [] });
  assert.deepEqual([mgpass.edited_by[0].event, mgpass.edited_by[0].actor], ['user.updated', 'app_proxy']);
  const findings = (await operator('GET', 'mirror')).findings.filter(({ user_id: id }) => [edited, altered].includes(id));
  assert.deepEqual(findings.map(({ user_id, code, paths }) => [user_id, code, paths]).sort(), [
    [altered, 'altered_at_mgpass', ['name']], [edited, 'edited_at_mgpass', ['name']],
  ].sort());
  await operator('POST', `mirror/overrule?user=${edited}`);
  await until('Logto\'s name is there', async () => (await mgpassRow(edited)).name === 'As in Logto', { withinMs });
  await until('nobody is parked', async () => (await parked(edited)) === null, { withinMs });
});

test('large users stop nobody, and one above every answer is parked by name', async () => {
  const blob = (bytes) => ({ blob: 'x'.repeat(bytes) });
  const { users } = sandbox.logto;
  for (const [id, customData] of [['fatuser00001', blob(900_000)], ['fatuser00002', blob(900_000)], ['fatuser00003', blob(900_000)], ['toolarge0001', blob(2_200_000)], ['smalluser001', {}]]) {
    users.create({ id, username: id, customData });
  }
  await until('the walk has met them', async () => (await mgpassRow('smalluser001')) && (await mgpassRow('fatuser00001')) && (await mgpassRow('fatuser00003')), { withinMs });
  await until('the largest is parked', async () => (await parked('toolarge0001')) === 'too_large', { withinMs });
  assert.equal(await mgpassRow('toolarge0001'), null);
  // An isolate works on one large user at a time; the next tick goes on.
  assert.deepEqual(events.filter(({ event, code }) => event === 'mirror.paused' || (event === 'walk.delayed' && code !== 'no_room')), []);
  // And a write goes its way past them.
  const { id } = (await ask('POST', '/users', { username: 'afterwards' })).json();
  await until('it is mirrored', () => mgpassRow(id), { withinMs });
});
