// Sign-in moves, over real HTTP, with real client libraries and their checks left on, through the
// five stages forth and back. What was shown to whom is counted at the backends. Any miss exits
// non-zero.
//
//   npm run sign-in [-- --people 15] [--live] [--until ACT] [--skip draws,voided,share,down]
//
// Applications: two made with the middleware of docs/applications/ on `openid-client`, one with a
// public and one with a confidential client, one on `@logto/node` at Logto and that middleware at
// mgPass, all three in one group; and one on `@logto/browser` in a Chromium, which stays at Logto.
// The stage is changed as an operator does, by `dwp`; waits are a drill's (34 s of announcement).
//
//   before     off and shadow: everybody at Logto
//   passwords  decided, checked, carried, changed, void, reset, prompted
//   share      browsers drawn, people moved, back and up again; each backend down in turn
//   handover   armed, gates, draining with sign-ins under way, stage cutover, the way back
//   alone      stage cleanup, and back

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { root } from '../../e2e/support.mjs';
import { freePorts } from '../../harness/sandbox/machine.mjs';
import { openScene } from '../cutover/scene.mjs';
import { findChromium } from '../page/chromium.mjs';
import { backToCutover, cleanup } from './alone.mjs';
import { off, shadow } from './before.mjs';
import { openBook } from './book.mjs';
import { applications } from './clients.mjs';
import { atMgpass, cutover, wayBack } from './handover.mjs';
import { ownCookies, presented, proveJudges, twice, wrongSide } from './judge.mjs';
import { carry, dualWrite, voided } from './passwords.mjs';
import { population } from './people.mjs';
import { backAndUp, down, draws, move } from './share.mjs';

const { values: options } = parseArgs({
  options: { people: { type: 'string', default: '15' }, live: { type: 'boolean', default: false }, until: { type: 'string' }, skip: { type: 'string', default: '' } },
});
const executable = findChromium();
if (executable === undefined) {
  console.error('sign-in: no Chromium here, which `@logto/browser` runs in. Debian has it as the package `chromium`; another one is taken from the variable CHROMIUM.');
  process.exit(2);
}
// Each refused request is a line of Logto's libraries; what they make of it is judged here.
const { error: complain } = console;
console.error = (first, ...rest) => { if (!/^Logto requester error/.test(first)) complain(first, ...rest); };

const drawn = [];
const [deskPort] = await freePorts(1);
const scene = await openScene({
  main: options.live ? path.join(root, 'target/worker/live/index.js') : process.env.WORKER_MAIN,
  name: 'sign_in',
  // A write under way keeps draining open for some seconds; how fast mgPass is, is not judged here.
  vars: { GUARD_MAX_P95_MS: '30000', PIN_SECRET: 'a-key-for-the-pin-of-the-drill', LOGTO_DEADLINE_MS: '27000', PASSWORD_CARRY_PER_MINUTE: '200' },
  applications: applications(deskPort),
  onEvent: (event) => event.event === 'sign_in.drawn' && drawn.push(event),
});
const book = openBook(scene, population(Number(options.people), scene.url));
book.drawn = drawn;

const ACTS = [
  ['off', () => off(scene, book, { deskPort, executable })],
  ['shadow', () => shadow(scene, book)],
  ['dual_write', () => dualWrite(scene, book)],
  ['carry', () => carry(scene, book)],
  ['draws', () => draws(scene, book)],
  ['move', () => move(scene, book)],
  ['voided', () => voided(scene, book)],
  ['share', () => backAndUp(scene, book)],
  ['down', () => down(scene, book, 'dual_write')],
  ['handover', () => cutover(scene, book)],
  ['cutover', () => atMgpass(scene, book)],
  ['cleanup', () => cleanup(scene, book)],
  ['back', () => backToCutover(scene, book)],
  ['off_again', () => wayBack(scene, book)],
];

let failure;
try {
  await scene.logto.call('PUT', '/keep', { path: '^/(oidc/(token|auth|session|me)|api/(experience|interaction)|consent|sign-in)' });
  await scene.mgpass.call('PUT', '/keep', { path: '^/(token|authorize|revoke|logout|userinfo)|^/api/users/[^/]+$' });
  for (const [name, act] of ACTS) {
    if (options.skip.split(',').includes(name)) continue;
    await act();
    if (options.until === name) break;
  }
  await judge();
} catch (error) {
  failure = error;
} finally {
  await book.traffic?.stop();
  for (const app of book.apps) await app.close();
  await book.desk?.close();
  const nMissed = scene.printTable();
  await scene.close();
  if (failure) console.error(`\n${failure.stack}`);
  const isGood = failure === undefined && nMissed === 0;
  console.log(`\n${scene.rows.length} checks, ${nMissed} missed\nsign-in: ${!isGood ? 'FAILED' : options.until || options.skip ? 'passed, in part' : 'passed'}`);
  process.exit(isGood ? 0 : 1);
}

async function judge() {
  scene.heading('All in all');
  const zero = (what, measured) => scene.expect(what, measured, '0', measured === 0);
  const [ofLogto, ofMgpass] = [await scene.logto.call('GET', '/kept'), await scene.mgpass.call('GET', '/kept')];
  const [toLogto, toMgpass] = [presented(ofLogto), presented(ofMgpass)];
  zero('live tokens or sessions ended by the proxy', book.ended.length);
  for (const line of book.ended.slice(0, 5)) console.log(`      ${line}`);
  const named = [...book.named].map(([reason, n]) => `${reason} ${n}`).join(', ');
  scene.rows.push({ what: 'ended for a reason that was named before', measured: named || 'none', demanded: '', isSo: true });
  scene.expect('refreshes that went through', book.refreshed, 'more than 0', book.refreshed > 0);
  scene.expect('requests at the token endpoints, Logto and mgPass', `${toLogto.length} + ${toMgpass.length}`, 'both', toLogto.length > 0 && (toMgpass.length > 0 || options.until));
  zero('codes and refresh tokens presented twice', twice(toLogto, book.sent) + twice(toMgpass, book.sent));
  zero('presented at the wrong side', wrongSide(toLogto, toMgpass));
  zero('cookies of the proxy that reached a backend', ownCookies([...ofLogto, ...ofMgpass]));
  const { n } = await scene.mgpassRow("SELECT count(*) AS n FROM audit_logs WHERE event_type = 'session.revoked' AND metadata LIKE '%refresh_token_replayed%'");
  zero('families that mgPass revoked', n);
  // What was sent to mgPass as a password, by the proxy alone.
  const set = ofMgpass.filter(({ path: at, body }) => at.startsWith('/api/users/') && Object.hasOwn(readJson(body), 'password')).map(({ path: at, body }) => ({ id: at.split('/').at(-1), ...readJson(body) }));
  const barred = new Set(book.people.of('factor', 'dormant').map(({ subject }) => subject));
  scene.expect('passwords set at mgPass by the proxy', `${set.length}, alone in their bodies ${set.filter((one) => Object.keys(one).length === 2).length}`, 'each alone', set.every((one) => Object.keys(one).length === 2) && set.length > 0);
  zero('of those: of people with a second factor, or who did not sign in', set.filter(({ id }) => barred.has(id)).length);
  const log = readFileSync(path.join(scene.folder, 'worker.log'), 'utf8');
  zero('lines of the log with a password', log.split('\n').filter((line) => /a-(long|changed|later)-Password|set-at-mgPass/.test(line)).length);
  scene.expect('each judge finds what it is for', proveJudges(), 'true', proveJudges());
}

function readJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
