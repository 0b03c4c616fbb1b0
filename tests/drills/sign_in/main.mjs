// Sign-in moves, over real HTTP, with a real client library and its checks left on: two
// applications in one group, made with the middleware of docs/applications/. People sign in,
// refresh and sign out through the stages off, shadow, dual_write, while users change hands, and
// back; what was shown to whom is counted at the backends. Any miss exits non-zero.
//
//   npm run sign-in [-- --people 12] [--live]
//
// Not here: the gates of a hand-over and its announcement (a drill of its own). The row that says
// whose data wins is moved in both databases, as a hand-over moves it. No password goes over:
// people who move have a new one at mgPass, as after a reset campaign.

import path from 'node:path';
import { parseArgs } from 'node:util';

import { management, managementToken, mgpassToken, pause, until } from '../../harness/sandbox/client.mjs';
import { controlOf, SECRETS, startSandbox } from '../../harness/sandbox/sandbox.mjs';
import { root, scratch } from '../../e2e/support.mjs';
import { ownCookies, presented, proveJudges, twice, wrongSide } from './judge.mjs';
import { Person, startApplication } from './scene.mjs';

const { values: options } = parseArgs({ options: { people: { type: 'string', default: '12' }, live: { type: 'boolean' } } });
const N = Number(options.people);
// Every fourth has no way in at mgPass: no social account.
const isReady = ({ number }) => number % 4 !== 3;
// Flags are kept for five seconds in the isolate, then refreshed behind a request.
const FLAGS_SEEN_MS = 5_300;
const DRAWS = 300;

const rows = [];
const expect = (what, measured, demanded, isSo) => {
  rows.push({ what, measured, demanded, isSo });
  console.log(`  ${isSo ? ' ' : '!'} ${what.padEnd(62)} ${String(measured).padEnd(26)} ${demanded}`);
};
const zero = (what, measured) => expect(what, measured, '0', measured === 0);
const heading = (text) => console.log(`\n${text}`);

const events = [];
const place = scratch();
let sandbox;
const apps = [];
let failure;
try {
  sandbox = await startSandbox({
    persistTo: place.directory,
    onLog: (line) => line.startsWith('{"event":"sign_in.drawn"') && events.push(JSON.parse(line)),
    main: options.live ? path.join(root, 'target/worker/live/index.js') : undefined,
    vars: { PIN_SECRET: 'a-key-for-the-pin-of-the-drill', HANDOVER_SECRET: 'a-secret-of-the-hand-over-of-the-drill', WALK: 'off' },
  });
  await drill();
} catch (error) {
  failure = error;
} finally {
  for (const app of apps) await app.close();
  await sandbox?.close();
  place.remove();
}
const nMissed = rows.filter(({ isSo }) => !isSo).length;
console.log(`\n${rows.length} checks, ${nMissed} missed`);
for (const { what, measured, demanded } of rows.filter(({ isSo }) => !isSo)) console.log(`  missed: ${what}: ${measured}, demanded ${demanded}`);
if (failure) console.error(`\n${failure.stack}`);
const isGood = !failure && nMissed === 0;
console.log(`\nsign-in: ${isGood ? 'passed' : 'FAILED'}`);
process.exit(isGood ? 0 : 1);

async function drill() {
  const origin = sandbox.proxy.url;
  const [logto, mgpass] = [controlOf(sandbox.logto), controlOf(sandbox.mgpass)];
  await logto.call('PUT', '/keep', { path: '^/(oidc/(token|auth|session|me)|api/(experience|interaction)|consent|sign-in)' });
  await mgpass.call('PUT', '/keep', { path: '^/(token|authorize|revoke|logout|userinfo)' });
  const people = Array.from({ length: N }, (_, number) => new Person(number, origin));
  const sent = new Map();
  let ended = 0;
  let refreshed = 0;

  const flag = async (key, value) => {
    await sandbox.flag(key, value);
    await pause(FLAGS_SEEN_MS);
    await fetch(`${origin}/oidc/jwks`);
    await pause(500);
  };
  const admin = async (route) => (await fetch(`${origin}/_proxy/${route}`, { headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } })).json();
  const sessions = () => apps.flatMap((app) => app.sessions().map((session) => ({ app, session })));
  const refresh = ({ app, session }) => {
    sent.set(session.refreshToken, (sent.get(session.refreshToken) ?? 0) + 1);
    return app.login.refresh(session);
  };
  // Both sides' tokens, each by its own application; what cannot be refreshed has ended.
  const refreshAll = async (stage) => {
    const held = { logto: 0, mgpass: 0 };
    const lost = [];
    for (const one of sessions()) {
      held[one.session.side] += 1;
      try {
        await refresh(one);
        refreshed += 1;
      } catch (error) {
        lost.push(`${one.app.name} ${one.session.side} ${error.code ?? error.message} ${JSON.stringify(error.cause ?? {})}`);
      }
    }
    ended += lost.length;
    expect(`${stage}: tokens refreshed, Logto's and mgPass's`, `${held.logto} + ${held.mgpass}, lost ${lost.length}`, 'lost 0', lost.length === 0);
    for (const line of lost.slice(0, 3)) console.log(`      ${line}`);
  };
  const leaveLogto = () => { for (const { browser } of people) browser.forget('_session'); };

  heading('Stage off: everybody is at Logto');
  for (const name of ['newsroom', 'console']) apps.push(await startApplication(name, sandbox));
  const [newsroom, console_] = apps;
  await sandbox.flag('stage', 'off');
  await flag('applications', JSON.stringify(apps.map(({ listed }) => listed)));
  await until('the applications are known', async () => (await fetch(newsroom.login.link, { redirect: 'manual' })).status === 303);
  let byOne = 0;
  for (const person of people) {
    person.subject = (await person.signIn(newsroom, { register: true })).subject;
    const second = await person.signIn(console_);
    if (second.asked === 0 && second.subject === person.subject) byOne += 1;
  }
  expect('registered; the second application signs in by the first', `${byOne} of ${N}`, 'all', byOne === N);
  await refreshAll('off');

  heading('Stage shadow');
  await flag('stage', 'shadow');
  await sandbox.flag('mgpass_pages', 'closed');
  await flag('sign_in_percent', '100');
  leaveLogto();
  const inShadow = await Promise.all(people.map((person) => person.leadsTo(newsroom)));
  zero('shadow: login links that lead to mgPass', inShadow.filter((side) => side === 'mgpass').length);
  await refreshAll('shadow');

  heading('Stage dual_write, before anybody moves');
  await sandbox.flag('sign_in_percent', '0');
  await flag('stage', 'dual_write');
  const api = management(origin, await managementToken(`${origin}/oidc`));
  for (const person of people) {
    const changed = await api('PATCH', `/users/${person.subject}`, { primaryEmail: person.email });
    if (changed.status !== 200) throw new Error(changed.text);
    if (isReady(person)) await api('PUT', `/users/${person.subject}/identities/google`, { userId: `google-${person.number}` });
  }
  const mirrored = async () => {
    const { results } = await sandbox.databases.mgpass.prepare('SELECT u.id, u.email, s.user_id AS social FROM users u LEFT JOIN social_identities s ON s.user_id = u.id').all();
    return people.every((person) => results.some(({ id, email, social }) => id === person.subject && email === person.email && (social !== null) === isReady(person)));
  };
  await until('everybody is at mgPass', async () => { await sandbox.tick(); return mirrored(); }, { withinMs: 60_000, everyMs: 1_000 });
  // After the reset campaign.
  const atMgpass = { authorization: `Bearer ${await mgpassToken(sandbox.mgpass.url)}`, 'content-type': 'application/json' };
  for (const person of people.filter(isReady)) {
    const set = await fetch(`${sandbox.mgpass.url}/api/users/${person.subject}`, { method: 'PATCH', headers: atMgpass, body: JSON.stringify({ password: person.resetPassword }) });
    if (set.status !== 200) throw new Error(`${set.status} ${await set.text()}`);
  }
  await sandbox.tick();
  await refreshAll('dual_write, share 0');
  const { people: forecast } = await admin('applications/forecast');
  const of = (readiness) => forecast.filter((row) => row.live && row.readiness === readiness).reduce((sum, { n }) => sum + n, 0);
  const nReady = people.filter(isReady).length;
  expect('forecast: people who sign in anew by a social account', of('social'), String(nReady), of('social') === nReady);
  expect('forecast: people without a way in by one', of('none') + of('email_reset'), String(N - nReady), of('none') + of('email_reset') === N - nReady);

  heading('The share rises');
  await flag('sign_in_percent', '50');
  // Judged behind the first sign-in, marked at the second.
  for (const round of [1, 2]) {
    for (const person of people) {
      person.browser.forget('_session');
      const { side } = await person.signIn(newsroom);
      if (side === 'mgpass' && round === 1) throw new Error('moved before anybody was judged');
      person.movedEarly ||= side === 'mgpass';
    }
    await pause(1_500);
  }
  const marked = people.filter(({ browser }) => browser.has('__Secure-dwp_ready')).length;
  expect('browsers marked as ready', marked, String(nReady), marked === nReady);
  const mark = people.find(isReady).browser.value('__Secure-dwp_ready');
  const browsers = await Promise.all(Array.from({ length: DRAWS }, async () => {
    const first = await fetch(newsroom.login.link, { redirect: 'manual', headers: { 'sec-fetch-dest': 'document' } });
    return first.headers.getSetCookie().find((line) => line.includes('dwp_pin')).split(';')[0];
  }));
  const drawn = async () => Promise.all(browsers.map(async (pin) => {
    const answer = await fetch(newsroom.login.link, { redirect: 'manual', headers: { 'sec-fetch-dest': 'document', cookie: `${pin}; __Secure-dwp_ready=${mark}` } });
    return answer.headers.get('location') === newsroom.starts.mgpass;
  }));
  const draws = [];
  for (const percent of [0, 20, 50, 100, 50]) {
    await flag('sign_in_percent', String(percent));
    events.length = 0;
    const moved = await drawn();
    await pause(300);
    const reasons = Object.entries(Object.groupBy(events, ({ reason }) => reason)).map(([reason, list]) => `${reason} ${list.length}`);
    console.log(`      drawn: ${reasons.join(', ')}`);
    const n = moved.filter(Boolean).length;
    const share = percent / 100;
    const room = Math.ceil(4 * Math.sqrt(DRAWS * share * (1 - share)));
    expect(`share ${percent} %: of ${DRAWS} ready browsers at mgPass`, n, `${DRAWS * share} ± ${room}`, Math.abs(n - DRAWS * share) <= room);
    draws.push(moved);
  }
  const fell = draws[1].filter((was, index) => was && !draws[2][index]).length + draws[2].filter((was, index) => was && !draws[3][index]).length;
  zero('browsers that a rising share moved back', fell);
  const other = draws[2].filter((was, index) => was !== draws[4][index]).length;
  zero('browsers at another side at 50 % the second time', other);

  heading('People move');
  await flag('sign_in_percent', '100');
  const stayed = await Promise.all(people.map((person) => person.leadsTo(newsroom)));
  const withSession = people.filter(({ browser }) => browser.has('_session')).length;
  const logtoFirst = people.filter((person, index) => person.browser.has('_session') && stayed[index] === 'logto').length;
  expect("browsers with a session at Logto that stay there", `${logtoFirst} of ${withSession}`, 'all', logtoFirst === withSession && withSession > 0);
  leaveLogto();
  const asked = new Map();
  const wrongly = [];
  let single = 0;
  for (const person of people) {
    const first = await person.signIn(newsroom);
    const isExpected = first.side === (isReady(person) ? 'mgpass' : 'logto');
    if (!isExpected) wrongly.push(person.username);
    if (first.side !== 'mgpass') continue;
    asked.set(person, first.asked + (person.movedEarly ? 1 : 0));
    if (first.subject !== person.subject) wrongly.push(`${person.username} is somebody else`);
    const second = await person.signIn(console_);
    if (second.side === 'mgpass' && second.asked === 0) single += 1;
  }
  zero('people at the wrong side, or under another id', wrongly.length);
  expect('the second application signs in by the first at mgPass', `${single} of ${asked.size}`, 'all', single === asked.size);
  const onceEach = [...asked.values()].every((n) => n === 1);
  expect('forecast against what happened: asked to sign in anew', `${asked.size}, ${onceEach ? 'once each' : [...asked.values()]}`, `${of('social')}, once each`, asked.size === of('social') && onceEach);
  await refreshAll('dual_write, share 100');

  heading('The share goes back, and up again');
  await flag('sign_in_percent', '0');
  const backAt = await Promise.all(people.map((person) => person.leadsTo(newsroom)));
  zero('login links that lead to mgPass at share 0', backAt.filter((side) => side === 'mgpass').length);
  await refreshAll('dual_write, share 0 again');
  await flag('sign_in_percent', '100');

  heading('mgPass down, Logto down');
  const moved = sessions().filter(({ app, session }) => app === newsroom && session.side === 'mgpass').slice(0, 2);
  const kept = sessions().filter(({ session }) => session.side === 'logto').slice(0, 2);
  const failing = async (list) => {
    const errors = [];
    for (const one of list) await refresh(one).catch((error) => errors.push(error));
    return errors.length;
  };
  await mgpass.off();
  const ready = people.find(isReady);
  const leads = await until('the link leads to Logto', async () => (await ready.leadsTo(newsroom)) === 'logto', { withinMs: 20_000, everyMs: 500 }).then(() => 'logto', () => 'mgpass');
  expect('mgPass down: a ready browser is sent, within 20 s, to', leads, 'logto', leads === 'logto');
  const nGood = kept.length - await failing(kept);
  expect("mgPass down: Logto's tokens refreshed", `${nGood} of ${kept.length}`, 'all', nGood === kept.length && nGood > 0);
  const nRefused = await failing(moved);
  expect("mgPass down: mgPass's refused, told", `${nRefused} of ${moved.length}`, 'all', nRefused === moved.length && nRefused > 0);
  await mgpass.on();
  await pause(11_000);
  await refreshAll('mgPass up again');
  await logto.off();
  const stillMoved = sessions().filter(({ app, session }) => app === newsroom && session.side === 'mgpass').slice(0, 2);
  const stillKept = sessions().filter(({ session }) => session.side === 'logto').slice(0, 2);
  const nOk = stillMoved.length - await failing(stillMoved);
  expect("Logto down: mgPass's tokens refreshed through the proxy", `${nOk} of ${stillMoved.length}`, 'all', nOk === stillMoved.length && nOk > 0);
  const nTold = await failing(stillKept);
  expect("Logto down: Logto's refused, told", `${nTold} of ${stillKept.length}`, 'all', nTold === stillKept.length && nTold > 0);
  await logto.on();
  await refreshAll('Logto up again');

  heading('Users change hands');
  let generation = 10;
  const hand = async (holder) => {
    generation += 1;
    const deadline = ['draining', 'returning'].includes(holder) ? Date.now() + 120_000 : null;
    await sandbox.databases.mgpass.prepare('UPDATE logto_mirror_authority SET generation = ?').bind(generation).run();
    await sandbox.databases.proxy.prepare('UPDATE authority SET holder = ?, generation = ?, deadline = ?').bind(holder, generation, deadline).run();
    // No lease of before is left: a hand-over waits as long.
    await sandbox.reload();
  };
  const notReady = people.find((person) => !isReady(person));
  const newcomer = new Person(9_000, origin);
  const tryToRegister = async () => {
    newcomer.browser.forget('');
    await newcomer.browser.follow(newsroom.starts.logto, (url) => url.includes('/sign-in?'));
    const before = (await logto.counters()).byRoute['PUT /api/experience']?.count ?? 0;
    const answer = await newcomer.experience('PUT', '', { interactionEvent: 'Register' });
    const seen = ((await logto.counters()).byRoute['PUT /api/experience']?.count ?? 0) - before;
    return { status: answer.status, body: answer.status === 204 ? {} : await answer.json(), seen };
  };
  for (const holder of ['draining', 'mgpass']) {
    notReady.browser.forget('_session');
    if (holder === 'mgpass') await sandbox.flag('sign_in_percent', '0');
    let handedAt;
    const done = await notReady.signIn(newsroom, {
      until: async () => {
        // In the middle of it.
        await hand(holder);
        handedAt = Date.now();
      },
    });
    const tookMs = Date.now() - handedAt;
    expect(`${holder}: a sign-in at Logto gets to its end`, `${done.side}, ${tookMs} ms`, 'logto, at once', done.side === 'logto' && tookMs < 5_000);
    const told = await tryToRegister();
    const isTold = told.status === 409 && told.body.code === 'proxy.start_again' && /von vorn/.test(told.body.message);
    expect(`${holder}: a registration is told to start again, in German`, `${told.status} ${told.body.code}`, '409 proxy.start_again', isTold);
    zero(`${holder}: steps of it that Logto saw`, told.seen);
    await refreshAll(holder);
  }
  await flag('sign_in_percent', '100');
  leaveLogto();
  const unready = await notReady.leadsTo(newsroom);
  expect('mgpass: a link leads there also for who was not marked', unready, 'mgpass', unready === 'mgpass');

  heading('And back');
  await hand('returning');
  await refreshAll('returning');
  await hand('logto');
  await refreshAll('dual_write again');
  const registers = await tryToRegister();
  expect('a registration goes through again', registers.status, '204', registers.status === 204);
  await flag('stage', 'shadow');
  await refreshAll('shadow again');
  await flag('stage', 'off');
  await refreshAll('off again');

  heading('One person signs out at both');
  const revoked = async () => (await sandbox.databases.mgpass.prepare('SELECT count(*) AS n FROM sessions WHERE revoked_at IS NOT NULL').first()).n;
  zero('sessions at mgPass that were ended so far', await revoked());
  const out = await ready.browser.follow(new URL('/logout', newsroom.starts.mgpass).href, (url) => url.startsWith('http://127.0.0.1:5999/'));
  if (out.response) {
    const html = await out.response.text();
    const body = new URLSearchParams({ xsrf: /name="xsrf" value="([^"]+)"/.exec(html)[1], logout: 'yes' });
    const last = await ready.browser.ask('POST', new URL(/action="([^"]+)"/.exec(html)[1], out.url).href, { body });
    out.url = last.headers.get('location');
  }
  expect('signed out, back at the application', new URL(out.url).origin, 'http://127.0.0.1:5999', out.url.startsWith('http://127.0.0.1:5999/?state='));
  const after = await revoked();
  expect('sessions at mgPass ended by it', after, 'at least 1', after >= 1);

  heading('All in all');
  const [ofLogto, ofMgpass] = [await logto.call('GET', '/kept'), await mgpass.call('GET', '/kept')];
  const [toLogto, toMgpass] = [presented(ofLogto), presented(ofMgpass)];
  zero('live tokens or sessions ended by the proxy', ended);
  expect('refreshes that went through', refreshed, 'more than 0', refreshed > 0);
  expect('requests at the token endpoints, Logto and mgPass', `${toLogto.length} + ${toMgpass.length}`, 'both', toLogto.length > N && toMgpass.length > N);
  zero('codes and refresh tokens presented twice', twice(toLogto, sent) + twice(toMgpass, sent));
  zero('presented at the wrong side', wrongSide(toLogto, toMgpass));
  zero('cookies of the proxy that reached a backend', ownCookies([...ofLogto, ...ofMgpass]));
  const replays = await sandbox.databases.mgpass.prepare("SELECT count(*) AS n FROM audit_logs WHERE event_type = 'session.revoked' AND metadata LIKE '%refresh_token_replayed%'").first();
  zero('families that mgPass revoked', replays.n);
  expect('each judge finds what it is for', proveJudges(), 'true', proveJudges());
}
