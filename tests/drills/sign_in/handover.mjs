// The users change hands by the operator's own commands, with sign-ins under way; and what holds
// while mgPass is the authority.

import { pause, until } from '../../harness/sandbox/client.mjs';
import { openGates } from '../cutover/gates.mjs';
import { insist } from '../cutover/handover.mjs';
import { deployNewSecret } from '../cutover/prepare.mjs';
import { NEW_SECRET } from '../cutover/scene.mjs';
import { settled } from '../cutover/judge.mjs';
import { walk, walkDesk } from './people.mjs';
import { prompted } from './passwords.mjs';
import { Person } from './scene.mjs';
import { down } from './share.mjs';

/** Of a write that keeps draining open for as long. */
const SLOW_MS = 20_000;
const isAt = (scene, holder) => async () => (await scene.authority()).holder === holder;

async function arm(scene, book) {
  await deployNewSecret(scene);
  scene.sandbox.logto.admitOnly([NEW_SECRET]);
  const { stdout } = await scene.dwp('handover arm --for 4h');
  book.traffic.resume();
  console.log(`      ${stdout.trim().split('\n')[0]}`);
  await openGates(scene);
}

async function tryToRegister(scene, newsroom, newcomer) {
  newcomer.browser.forget('');
  await newcomer.browser.follow(newsroom.starts.logto, (url) => url.includes('/sign-in?'));
  const steps = async () => (await scene.logto.counters()).byRoute['PUT /api/experience']?.count ?? 0;
  const before = await steps();
  const answer = await newcomer.experience('PUT', '', { interactionEvent: 'Register' });
  const seen = (await steps()) - before;
  return { status: answer.status, body: answer.status === 204 ? {} : await answer.json(), seen };
}

async function isToldToStartAgain(scene, book, stage) {
  const { status, body, seen } = await tryToRegister(scene, book.apps[0], book.newcomer);
  const isTold = status === 409 && body.code === 'proxy.start_again' && /von vorn/.test(body.message);
  scene.expect(`${stage}: a registration is told to start again, in German`, `${status} ${body.code}, Logto saw ${seen} steps`, '409 proxy.start_again, 0', isTold && seen === 0);
}

/** Begun at Logto before the hand-over, and ended once `holder` is reached. */
async function signInAcross(scene, app, person, holder) {
  person.browser.forget('_session');
  let reachedAt;
  const done = await person.signIn(app, {
    until: async () => {
      await until(holder, isAt(scene, holder), { withinMs: 180_000, everyMs: 50 });
      reachedAt = Date.now();
    },
  });
  return { ...done, tookMs: Date.now() - reachedAt };
}

export async function cutover(scene, book) {
  scene.heading('The users change hands');
  const [newsroom] = book.apps;
  const { of } = book.people;
  book.newcomer = new Person(9_000, scene.url);
  await book.share(0);
  await arm(scene, book);
  const [one, other] = of('factor');
  const [slow] = of('dormant');
  const crossing = [['draining', one], ['mgpass', other ?? of('carried')[0]]].map(([holder, person]) => [holder, signInAcross(scene, newsroom, person, holder)]);
  const command = insist(scene);
  const announced = () => scene.proxyRow('SELECT announced_until AS until FROM authority');
  await until('announced', async () => (await announced()).until !== null, { withinMs: 120_000, everyMs: 50 });
  await pause(Math.max(0, (await announced()).until - Date.now() - 1_500));
  await scene.logto.faults([{ match: { method: 'PATCH', path: `^/api/users/${slow.subject}$` }, latency_ms: SLOW_MS, times: 1 }]);
  const write = book.ask('PATCH', `/users/${slow.subject}`, { name: 'Written late' });
  await until('draining', isAt(scene, 'draining'), { withinMs: 30_000, everyMs: 20 });
  await isToldToStartAgain(scene, book, 'draining');
  await book.refreshAll('draining');
  const { holder } = await scene.authority();
  scene.expect('draining: all of that while a write was under way', holder, 'draining', holder === 'draining');
  const written = await write;
  await scene.logto.faults([]);
  await until('mgPass is the authority', isAt(scene, 'mgpass'), { withinMs: 120_000, everyMs: 50 });
  const result = await command;
  await book.traffic.still();
  scene.expect('dwp stage cutover --wait', `${result.status}; the write that was under way ${written.status}`, '0; 200', result.status === 0 && written.status === 200);
  for (const [reached, sign] of crossing) {
    const done = await sign;
    scene.expect(`a sign-in at Logto, ended in ${reached}`, `${done.side}, ${done.tookMs} ms after it`, 'logto, not held', done.side === 'logto' && done.tookMs < 10_000);
  }
}

export async function atMgpass(scene, book) {
  scene.heading('Stage cutover');
  const [newsroom] = book.apps;
  await isToldToStartAgain(scene, book, 'cutover');
  await book.refreshAll('cutover, share 0');
  await walk(scene, book, 'cutover, share 0', 'logto');
  await walkDesk(scene, book, 'cutover');
  await book.share(100);
  const unmarked = new Person(9_001, scene.url);
  await unmarked.leadsTo(newsroom);
  const leads = await unmarked.leadsTo(newsroom);
  scene.expect('cutover: a link leads, also for who was not marked, to', leads, 'mgpass', leads === 'mgpass');
  const factors = book.people.of('factor');
  for (const { browser } of factors) browser.forget('_session');
  const kept = (await Promise.all(factors.map((person) => person.leadsTo(newsroom)))).filter((side) => side === 'logto').length;
  scene.expect('cutover: browsers of people with a second factor stay at Logto', `${kept} of ${factors.length}`, 'all', kept === factors.length);
  await prompted(scene, book);
  await walk(scene, book, 'cutover, share 100', 'mgpass');
  await book.refreshAll('cutover, share 100');
  await down(scene, book, 'cutover');
}

export async function wayBack(scene, book) {
  scene.heading('And back');
  const [newsroom] = book.apps;
  await settled(scene, { withinMs: 300_000 });
  const result = await scene.dwp('stage dual_write --wait', { allowed: [0, 1] });
  const { holder } = await scene.authority();
  scene.expect('dwp stage dual_write --wait', `${result.status}, ${holder}`, '0, logto', result.status === 0 && holder === 'logto');
  if (holder !== 'logto') throw new Error(result.stdout);
  await scene.put('stage', 'dual_write', (status) => status.stage === 'dual_write');
  await book.refreshAll('dual_write again, share 100');
  await book.share(0);
  await walk(scene, book, 'dual_write again', 'logto');
  await walkDesk(scene, book, 'dual_write again');
  const { status } = await tryToRegister(scene, newsroom, book.newcomer);
  scene.expect('dual_write again: a registration goes through', status, '204', status === 204);
  await book.percent('read_percent', 0);
  for (const stage of ['shadow', 'off']) {
    await book.flag('stage', stage);
    await book.refreshAll(`${stage} again`);
    await walk(scene, book, `${stage} again`, 'logto');
    await walkDesk(scene, book, `${stage} again`);
  }
}
