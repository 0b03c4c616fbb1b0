// The roads of passwords in stage dual_write: none is carried before somebody has decided it and
// a check has shown what mgPass does; then each sign-in at Logto carries one, a change carries the
// new one or voids the old one, and the campaign brings back who is left without.

import { readFileSync, rmSync } from 'node:fs';
import path from 'node:path';

import { pause, until } from '../../harness/sandbox/client.mjs';
import { PROBE_VARS } from '../../harness/sandbox/sandbox.mjs';
import { startTraffic } from '../cutover/traffic.mjs';
import { isTakenAtMgpass } from './book.mjs';
import { led, walk, walkDesk } from './people.mjs';

const ROUNDS = 6;

const rowsOf = async (scene, sql) => scene.mgpassRows(sql);
const readiness = async (scene) => (await scene.dwp('readiness --json')).json().readiness;
const stateOf = async (scene, { subject }) => (await scene.proxyRow('SELECT state FROM passwords WHERE subject = ?1', subject))?.state ?? 'none';
const countWith = async (scene, list) => {
  const [{ n }] = await scene.mgpassRows('SELECT count(*) AS n FROM users WHERE password_hash IS NOT NULL AND id IN (SELECT value FROM json_each(?1))', JSON.stringify(list.map(({ subject }) => subject)));
  return n;
};

async function signInAtLogto(person, app) {
  person.browser.forget('_session');
  const done = await person.signIn(app);
  if (done.side !== 'logto') throw new Error(`${person.username} was moved before their browser was marked`);
}

/** Everybody is imported, reads are mgPass's, and a version that may carry passwords is deployed. */
export async function dualWrite(scene, book) {
  scene.heading('Stage dual_write, before anybody moves');
  const { everybody } = book.people;
  await book.flag('stage', 'dual_write');
  await scene.dwp('import users --no-inspect --watch', { allowed: [0, 1] });
  await book.percent('read_percent', 100);
  await book.percent('compare_percent', 50);
  const atMgpass = await rowsOf(scene, 'SELECT id, email, password_hash FROM users');
  const n = everybody.filter(({ subject, email }) => atMgpass.some((row) => row.id === subject && row.email === email && row.password_hash === null)).length;
  scene.expect('imported, with their addresses and without passwords', `${n} of ${everybody.length}`, 'all', n === everybody.length);
  const ids = everybody.map(({ subject }) => subject);
  book.traffic = startTraffic(scene, { ask: book.ask, written: ids, read: ids, onlyReads: true });
  // For the gate `reads` alone.
  await book.traffic.still();
  await book.refreshAll('dual_write, share 0');
  await walk(scene, book, 'dual_write, share 0', 'logto');
  await walkDesk(scene, book, 'dual_write');

  const probe = (await book.ask('POST', '/users', { username: 'probe', primaryEmail: 'probe@example.test' })).json().id;
  await until('the probe account is mirrored', () => scene.mgpassRow('SELECT id FROM users WHERE id = ?1', probe), { withinMs: 30_000, everyMs: 300 });
  await scene.sandbox.deploy({ PASSWORD_CARRY: 'on', ...PROBE_VARS, PROBE_USER: probe });
  await until('the new version answers', async () => (await scene.status()).stage === 'dual_write', { withinMs: 20_000 });
}

export async function carry(scene, book) {
  scene.heading('Passwords are carried over');
  const [newsroom] = book.apps;
  const { of, moving } = book.people;
  await book.share(50);
  const [early] = of('carried');
  await signInAtLogto(early, newsroom);
  await pause(2_000);
  const before = await countWith(scene, moving);
  scene.expect('carried without a decision and a check', before, '0', before === 0);

  await scene.dwp(['carry', 'allow', '--by', 'drill', '--reason', 'a drill']);
  const check = await scene.dwp('carry check', { allowed: [0, 1] });
  if (check.status !== 0) throw new Error(`dwp carry check: ${check.stdout}${check.stderr}`);
  const confirmed = await scene.dwp('carry check --mailbox-empty --by drill', { allowed: [0, 1] });
  scene.expect('decided, checked, mailbox looked into', `dwp ${check.status}, ${confirmed.status}`, '0, 0', check.status === 0 && confirmed.status === 0);

  // Judged behind a sign-in, marked at a later one.
  const isMarked = ({ browser }) => browser.isMarkedReady;
  for (let round = 0; round < ROUNDS && !moving.every(isMarked); round += 1) {
    for (const person of moving) if (!isMarked(person)) await signInAtLogto(person, person.home?.app ?? newsroom);
    if (round < 2) for (const person of of('factor')) await signInAtLogto(person, newsroom);
    await pause(3_000);
  }
  const [nCarried, nMarked, nFactors] = [await countWith(scene, moving), moving.filter(isMarked).length, await countWith(scene, of('factor', 'dormant'))];
  scene.expect('passwords carried; browsers marked as ready', `${nCarried}; ${nMarked} of ${moving.length}`, 'all', nCarried === moving.length && nMarked === moving.length);
  scene.expect('carried for a second factor, or without a sign-in', nFactors, '0', nFactors === 0);

  let n = 0;
  for (const person of of('changed')) {
    const old = person.password;
    person.password = `a-changed-Password-${person.number}`;
    const { status, text } = await book.ask('PATCH', `/users/${person.subject}/password`, { password: person.password });
    if (status !== 200) throw new Error(text);
    await until('the new one is carried', () => isTakenAtMgpass(scene, person, person.password), { withinMs: 30_000, everyMs: 500 }).catch(() => {});
    if (await isTakenAtMgpass(scene, person, person.password) && !await isTakenAtMgpass(scene, person, old)) n += 1;
  }
  scene.expect('changed at Logto: mgPass takes the new one, and not the old', `${n} of ${of('changed').length}`, 'all', n === of('changed').length);
  book.forecast = (await scene.dwp('app forecast --json', { allowed: [0, 1] })).json().people;
  const forecast = book.forecastOf = (road) => book.forecast.filter((row) => row.live && row.readiness === road).reduce((sum, { n: some }) => sum + some, 0);
  const left = of('dormant', 'factor').length;
  // The user of @logto/browser has no address.
  scene.expect('forecast: sign in anew, by the password of before', forecast('carried'), String(moving.length), forecast('carried') === moving.length);
  scene.expect('forecast: by a reset or a prompt; without a road', `${forecast('email_reset')}; ${forecast('none')}`, `${left}; 1`, forecast('email_reset') === left && forecast('none') === 1);
}

/** They have been at mgPass; then they change it at Logto. */
export async function voided(scene, book) {
  scene.heading('A password is void, and set by the campaign');
  const [newsroom] = book.apps;
  const people = book.people.of('voided');
  let [n, nStates] = [0, 0];
  for (const person of people) {
    const old = person.password;
    const before = await isTakenAtMgpass(scene, person, old);
    person.password = `a-later-Password-${person.number}`;
    book.reasons.set(`mgpass ${person.subject}`, 'password voided');
    await book.ask('PATCH', `/users/${person.subject}/password`, { password: person.password });
    await until('void', async () => !await isTakenAtMgpass(scene, person, old), { withinMs: 30_000, everyMs: 500 }).catch(() => {});
    if (before && !await isTakenAtMgpass(scene, person, old) && !await isTakenAtMgpass(scene, person, person.password)) n += 1;
  }
  for (const person of people) {
    await until('noted', async () => (await stateOf(scene, person)) === 'none', { withinMs: 90_000, everyMs: 500 }).catch(() => {});
    if ((await stateOf(scene, person)) === 'none') nStates += 1;
  }
  scene.expect('changed after a sign-in at mgPass: void there, the old and the new', `${n} of ${people.length}, ${nStates} noted`, 'all', n === people.length && nStates === n);
  await until('their sessions at mgPass are ended', async () => (await scene.mgpassRow('SELECT count(*) AS n FROM logto_mirror_effects')).n === 0, { withinMs: 120_000, everyMs: 1_000 }).catch(() => {});
  await book.refreshAll('after a change of passwords');
  for (const person of people) book.reasons.delete(`mgpass ${person.subject}`);

  const file = path.join(scene.persistTo, 'campaign.csv');
  rmSync(file, { force: true });
  await scene.dwp(['readiness', '--csv', file, '--only', 'email_reset']);
  const listed = readFileSync(file, 'utf8').trim().split(/\r?\n/).slice(1).map((line) => line.split(',')[0]);
  const due = book.people.of('voided', 'dormant', 'factor');
  scene.expect('campaign: people in its file', listed.length, String(due.length), listed.length === due.length && due.every(({ subject }) => listed.includes(subject)));
  let nReset = 0;
  for (const person of people) {
    person.browser.forget('_session');
    person.browser.forget('mgpass_session');
    await led(person, newsroom, 'mgpass');
    const done = await person.signIn(newsroom, { forgot: true });
    if (done.side === 'mgpass' && done.subject === person.subject && person.nPrompted === 1) nReset += 1;
  }
  const roads = await readiness(scene);
  scene.expect('campaign: reset at mgPass, and seen there', `${nReset}; dwp readiness: reset ${roads.reset}`, `${people.length}; ${people.length}`, nReset === people.length && roads.reset === people.length);
}

/** After the cutover mgPass asks whoever has no password. */
export async function prompted(scene, book) {
  const [newsroom] = book.apps;
  const people = book.people.of('dormant');
  let n = 0;
  for (const person of people) {
    person.browser.forget('_session');
    // Whoever sets a password at mgPass now is signed out where the old one was good.
    book.reasons.set(`logto ${person.subject}`, 'password set at mgPass');
    await led(person, newsroom, 'mgpass');
    const done = await person.signIn(newsroom);
    if (done.side === 'mgpass' && done.subject === person.subject && person.nPrompted === 1) n += 1;
    book.asked.set(person, (book.asked.get(person) ?? 0) + done.asked);
  }
  const roads = await readiness(scene);
  scene.expect('cutover: prompted by mgPass for a password, and in', `${n}; dwp readiness: prompted ${roads.prompted}`, `${people.length}; ${people.length}`, n === people.length && roads.prompted === people.length);
}
