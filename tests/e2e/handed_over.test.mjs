// Writes of the built Worker around a hand-over: an isolate that does not know yet who is
// the authority takes a write for Logto's first, holds its body, and finds out from the
// database. The body must be there for mgPass as well.
//
// Steps: users mirrored; the rows say that mgPass is the authority; a new process, whose
// first requests are writes; then one that is held while the users change hands.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { scratch } from '../harness/sandbox/scratch.mjs';
import { management, managementToken, pause, until } from '../harness/sandbox/client.mjs';
import { startSandbox } from '../harness/sandbox/sandbox.mjs';

const SECRET = 'what-only-this-version-sends';
const store = scratch();
let sandbox;
let ask;
const ids = [];

const rows = async (database, sql) => (await sandbox.databases[database].prepare(sql).all()).results;
const nameAtMgpass = async (id) => (await rows('mgpass', `SELECT name FROM users WHERE id = '${id}'`))[0].name;
async function holder(name, generation, deadline = 'NULL') {
  await sandbox.databases.proxy.prepare(`UPDATE authority SET holder = '${name}', generation = ${generation}, deadline = ${deadline}`).run();
  await sandbox.databases.mgpass.prepare(`UPDATE logto_mirror_authority SET generation = ${generation}`).run();
}

before(async () => {
  sandbox = await startSandbox({
    persistTo: store.directory, main: process.env.WORKER_MAIN, vars: { HANDOVER_SECRET: SECRET, WALK: 'off' }, logto: { originSecret: SECRET },
  });
  await sandbox.flag('stage', 'dual_write');
  ask = management(sandbox.proxy.url, await managementToken(`${sandbox.proxy.url}/oidc`));
  for (let n = 0; n < 4; n += 1) ids.push((await ask('POST', '/users', { username: `user_${n}`, name: `v${n}` })).json().id);
  await until('mirrored', async () => {
    await sandbox.tick();
    return (await rows('proxy', 'SELECT count(*) AS n FROM intents WHERE discharged_at IS NULL'))[0].n === 0;
  }, { withinMs: 30_000, everyMs: 300 });
});

after(async () => {
  await sandbox.close();
  store.remove();
});

test('the first writes of an isolate that knows nothing are carried out at mgPass', async () => {
  await holder('mgpass', 5);
  await sandbox.reload();
  const answers = await Promise.all(ids.slice(0, 3).map((id, n) => ask('PATCH', `/users/${id}`, { name: `first ${n}` })));
  assert.deepEqual(answers.map(({ status, text }) => [status, status === 200 ? '' : text]), [[200, ''], [200, ''], [200, '']]);
  for (const [n, id] of ids.slice(0, 3).entries()) assert.equal(await nameAtMgpass(id), `first ${n}`);
});

test('a write that is held while the users change hands goes where they are in the end', async () => {
  await holder('draining', 6, "CAST(unixepoch('subsec') * 1000 AS INTEGER) + 60000");
  await sandbox.reload();
  // Something that is waited for, so that nobody moves it on.
  await sandbox.databases.proxy.prepare("INSERT INTO intents (id, subject, operation, opened_at, expires_at) VALUES ('hangs', 'nobody000001', 'users.patch', CAST(unixepoch('subsec') * 1000 AS INTEGER), 9e12)").run();
  const held = ask('PATCH', `/users/${ids[3]}`, { name: 'held' });
  await pause(1_500);
  await sandbox.databases.proxy.prepare("DELETE FROM intents WHERE id = 'hangs'").run();
  await holder('mgpass', 7);
  const { status, text } = await held;
  assert.equal(status, 200, text);
  assert.equal(await nameAtMgpass(ids[3]), 'held');
});
