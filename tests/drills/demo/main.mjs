// The main job, end to end, in the sandbox on free ports: a write mirrored, a read
// moved, tokens of both issuers accepted. What served a read is counted at the
// backends. Any miss exits non-zero.
//
// Steps: register, sign in, mirror; change, suspend, delete; ramp 0, 50, 100, 50, 0
// by `wrangler kv key put --local`; tokens of both issuers, whole and tampered;
// mgPass switched off and on again.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { controlOf, SECRETS, startSandbox } from '../../harness/sandbox/sandbox.mjs';
import { scratch } from '../../harness/sandbox/scratch.mjs';
import { management, managementToken, mgpassToken, pause, signIn, tamper, until } from '../../harness/sandbox/client.mjs';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const { directory: persistTo } = scratch('demo');
const USERS = 200;
const GET_USER = 'GET /api/users/:id';

const rows = [];
const note = (what, result) => {
  rows.push([what, result]);
  console.log(`  ${what.padEnd(58)} ${result}`);
};
const heading = (text) => console.log(`\n${text}`);

const events = [];
const sandbox = await startSandbox({
  persistTo,
  tickMs: 1_000,
  // The mirror alone has to do it; and the walk's own reads would be counted as well.
  vars: { WALK: 'off' },
  onLog: (line) => line.startsWith('{"event"') && events.push(JSON.parse(line)),
});
let failure;
try {
  await demo();
} catch (error) {
  failure = error;
} finally {
  await sandbox.close();
}
if (failure) {
  console.error(`\n${failure.stack}\n\ndemo: FAILED`);
  process.exit(1);
}
console.log('\ndemo: passed');

async function demo() {
  const origin = sandbox.proxy.url;
  const issuer = `${origin}/oidc`;
  const logto = controlOf(sandbox.logto);
  const mgpass = controlOf(sandbox.mgpass);

  heading('Flags, by wrangler, under the running proxy');
  await put('stage', 'dual_write', (status) => status.stage === 'dual_write');
  note('stage', 'dual_write');

  heading('A person registers through the proxy and signs in');
  const person = { username: 'ama_boateng', password: 'Jubjub-Bird-9000' };
  const registered = await signIn({ origin, issuer, ...person, register: true });
  const id = registered.tokens.claims().sub;
  note('registered; ID token validated by openid-client', `sub ${id}`);
  const token = await managementToken(issuer);
  const ask = management(origin, token);
  const direct = management(sandbox.logto.url, token);
  const inMgpass = (user) => row('SELECT * FROM users WHERE id = ?', user);
  const { tookMs } = await until('the user at mgPass', () => inMgpass(id), { withinMs: 2_000 });
  note('same id at mgPass', `after ${tookMs} ms`);
  const again = await signIn({ origin, issuer, ...person });
  assert.equal(again.tokens.claims().sub, id);
  note('signed in again', `scope "${again.tokens.scope}"`);

  heading('What happens to the user happens at mgPass');
  assert.equal((await ask('PATCH', `/users/${id}`, { name: 'Ama Boateng', customData: { plan: 'press' } })).status, 200);
  await mirrored('profile change', async () => (await inMgpass(id)).name === 'Ama Boateng');
  assert.equal((await inMgpass(id)).metadata, '{"plan":"press"}');
  assert.equal((await ask('PATCH', `/users/${id}/is-suspended`, { isSuspended: true })).status, 200);
  await mirrored('suspension', async () => (await inMgpass(id)).is_suspended === 1);
  await mirrored('its sessions ended (revoke-all, counted at mgPass)', async () =>
    (await mgpass.counters()).byRoute['POST /api/users/:id/sessions/revoke-all']?.count >= 1);
  assert.equal((await ask('DELETE', `/users/${id}`)).status, 204);
  await mirrored('deletion (soft at mgPass)', async () => (await inMgpass(id)).deleted_at !== null);

  heading(`Reads move: ${USERS} users, one read each, counted at the backends`);
  const users = [];
  for (let number = 0; number < USERS; number += 1) {
    const created = await ask('POST', '/users', {
      username: `user_${number}`,
      primaryEmail: number % 3 ? `User.${number}@example.test` : undefined,
      primaryPhone: number % 4 ? undefined : `23320000${String(number).padStart(4, '0')}`,
      name: number % 5 ? `Käthe ${number}` : undefined,
      customData: { 10: number, plan: 'free', nested: { 'é': [1.5, null] } },
      profile: number % 2 ? { givenName: 'K', locale: 'de' } : undefined,
    });
    assert.equal(created.status, 200, created.text);
    users.push(created.json().id);
  }
  await until('all users reconciled', async () => (await status()).outbox.n_open === 0, { withinMs: 60_000 });
  // Discharged intents fence reads a little longer.
  await pause(2_500);
  const truth = new Map();
  for (const user of users) truth.set(user, (await direct('GET', `/users/${user}`)).text);
  // A compared read asks both backends; here each read is to be counted once.
  await put('compare_percent', '0', (status) => status.compare_bps === 0);
  const sides = [];
  for (const percent of ['0', '50', '100', '50', '0']) {
    await put('read_percent', percent, (status) => status.read_bps === Number(percent) * 100);
    await Promise.all([logto.reset(), mgpass.reset()]);
    let equal = 0;
    const side = new Map();
    for (const user of users) {
      const before = (await mgpass.counters()).byRoute[GET_USER]?.count ?? 0;
      const answer = await ask('GET', `/users/${user}`);
      assert.equal(answer.status, 200, answer.text);
      if (answer.text === truth.get(user)) equal += 1;
      side.set(user, ((await mgpass.counters()).byRoute[GET_USER]?.count ?? 0) > before ? 'mgpass' : 'logto');
    }
    const byLogto = (await logto.counters()).byRoute[GET_USER]?.count ?? 0;
    const byMgpass = (await mgpass.counters()).byRoute[GET_USER]?.count ?? 0;
    note(`read_percent ${percent}`, `Logto ${byLogto}, mgPass ${byMgpass}, equal byte for byte ${equal} of ${USERS}`);
    assert.equal(equal, USERS);
    assert.equal(byLogto + byMgpass, USERS);
    const share = Number(percent) / 100;
    assert.ok(Math.abs(byMgpass - USERS * share) <= 3 * Math.sqrt(USERS * share * (1 - share)), `share at ${percent}`);
    sides.push(side);
  }
  const same = (one, other) => users.every((user) => sides[one].get(user) === sides[other].get(user));
  assert.ok(same(1, 3), 'the same users at 50, before and after 100');
  note('same users at 50 before and after 100', 'yes');

  heading('Tokens of both issuers on GET /api/users/:id');
  await put('read_percent', '100', (status) => status.read_bps === 10_000);
  const mgpassIssued = await mgpassToken(sandbox.mgpass.url);
  const tokens = [['Logto', token], ['mgPass', mgpassIssued]];
  for (const [name, issued] of tokens) {
    const whole = await management(origin, issued)('GET', `/users/${users[0]}`);
    assert.equal(whole.text, truth.get(users[0]));
    const tampered = await management(origin, tamper(issued))('GET', `/users/${users[0]}`);
    assert.equal(tampered.status, 401, tampered.text);
    note(`issued by ${name}`, `whole: ${whole.status}, tampered: ${tampered.status} ${tampered.json().code}`);
  }

  heading('mgPass switched off: Logto tokens go on');
  await mgpass.off();
  let failed = 0;
  for (const user of users.slice(0, 40)) {
    const answer = await ask('GET', `/users/${user}`);
    if (answer.status !== 200 || answer.text !== truth.get(user)) failed += 1;
  }
  const missed = users.slice(0, 20);
  for (const user of missed) {
    const answer = await ask('PATCH', `/users/${user}`, { name: 'written while mgPass was off' });
    if (answer.status !== 200) failed += 1;
  }
  const signedIn = await signIn({ origin, issuer, username: 'esi_mensah', password: 'Jubjub-Bird-9000', register: true });
  const esi = signedIn.tokens.claims().sub;
  note('40 reads, 20 writes, 1 registration with sign-in', `failed ${failed}`);
  assert.equal(failed, 0);
  const backlog = (await status()).outbox.n_open;
  assert.ok(backlog >= missed.length, `backlog ${backlog}`);
  note('waiting in the outbox', `${backlog} intents`);
  await mgpass.on();
  const arrived = await until('what was missed', async () => (await status()).outbox.n_open === 0, { withinMs: 60_000 });
  for (const user of missed) assert.equal((await inMgpass(user)).name, 'written while mgPass was off');
  assert.ok(await inMgpass(esi));
  note('mgPass on again: everything arrived', `after ${Math.round(arrived.tookMs / 1000)} s`);
  const after = await ask('GET', `/users/${missed[0]}`);
  assert.equal(after.text, (await direct('GET', `/users/${missed[0]}`)).text);
  note('read after it, byte for byte Logto\'s', 'yes');

  const done = events.filter(({ event }) => event === 'request.done');
  note('request.done events', String(done.length));
  const parked = events.filter(({ event }) => event === 'mirror.parked').length;
  note('subjects parked', String(parked));
  assert.equal(parked, 0);
}

async function status() {
  const answer = await fetch(`${sandbox.proxy.url}/_proxy/status`, {
    headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` },
  });
  return answer.json();
}

function row(sql, ...values) {
  return sandbox.databases.mgpass.prepare(sql).bind(...values).first();
}

async function mirrored(what, isThere) {
  const { tookMs } = await until(what, isThere, { withinMs: 5_000 });
  note(what, `after ${tookMs} ms`);
}

// As an operator does it, from another process; then waits until the proxy has seen it.
async function put(key, value, isSeen) {
  const wrangler = path.join(root, 'node_modules/wrangler/bin/wrangler.js');
  await promisify(execFile)(process.execPath, [
    wrangler, 'kv', 'key', 'put', key, value, '--binding', 'FLAGS', '--local', '--persist-to', persistTo,
  ], { cwd: root });
  await until(`${key} ${value}`, async () => isSeen(await status()), { withinMs: 15_000, everyMs: 200 });
}
