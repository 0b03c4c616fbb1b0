// What moves by share: browsers that are drawn, and people who then sign in at mgPass.

import { pause, until } from '../../harness/sandbox/client.mjs';
import { led, walk } from './people.mjs';

const DRAWS = 300;
const AT_ONCE = 20;

export async function draws(scene, book) {
  scene.heading('The share rises and falls');
  const [newsroom] = book.apps;
  const mark = book.people.of('carried')[0].browser.value('__Secure-dwp_ready');
  const browsers = await Promise.all(Array.from({ length: DRAWS }, async () => {
    const first = await fetch(newsroom.login.link, { redirect: 'manual', headers: { 'sec-fetch-dest': 'document' } });
    return first.headers.getSetCookie().find((line) => line.includes('dwp_pin')).split(';')[0];
  }));
  const draw = async (pin) => {
    const answer = await fetch(newsroom.login.link, { redirect: 'manual', headers: { 'sec-fetch-dest': 'document', cookie: `${pin}; __Secure-dwp_ready=${mark}` } });
    return answer.headers.get('location') === newsroom.starts.mgpass;
  };
  const drawn = async () => {
    book.drawn.length = 0;
    const moved = [];
    for (let at = 0; at < DRAWS; at += AT_ONCE) moved.push(...await Promise.all(browsers.slice(at, at + AT_ONCE).map(draw)));
    await pause(300);
    return moved;
  };
  // mgPass is given a second to answer; on a busy machine it may miss that, and then everybody is at Logto for some.
  const whileMgpassAnswers = async () => {
    for (let turn = 0; ; turn += 1) {
      const moved = await drawn();
      if (turn === 3 || !book.drawn.some(({ reason }) => reason === 'mgpass_down')) return moved;
      await pause(12_000);
    }
  };
  const seen = [];
  for (const percent of [0, 20, 50, 100, 50]) {
    await book.share(percent);
    const moved = await whileMgpassAnswers();
    const reasons = Object.entries(Object.groupBy(book.drawn, ({ reason }) => reason)).map(([reason, list]) => `${reason} ${list.length}`);
    const n = moved.filter(Boolean).length;
    const share = percent / 100;
    const room = Math.ceil(4 * Math.sqrt(DRAWS * share * (1 - share)));
    scene.expect(`share ${percent} %: of ${DRAWS} ready browsers at mgPass`, `${n} (${reasons.join(', ')})`, `${DRAWS * share} ± ${room}`, Math.abs(n - DRAWS * share) <= room);
    seen.push(moved);
  }
  const fell = seen[1].filter((was, index) => was && !seen[2][index]).length + seen[2].filter((was, index) => was && !seen[3][index]).length;
  scene.expect('browsers that a rising share moved back', fell, '0', fell === 0);
  const other = seen[2].filter((was, index) => was !== seen[4][index]).length;
  scene.expect('browsers at another side at 50 % the second time', other, '0', other === 0);
}

export async function move(scene, book) {
  scene.heading('People move');
  const [newsroom, console_] = book.apps;
  const { people, of } = book.people;
  await book.share(100);
  const withSession = people.filter(({ browser }) => browser.has('_session'));
  const stay = await Promise.all(withSession.map((person) => person.leadsTo(newsroom)));
  const n = stay.filter((side) => side === 'logto').length;
  scene.expect('browsers with a session at Logto that stay there', `${n} of ${withSession.length}`, 'all', n === withSession.length && n > 0);
  for (const { browser } of people) browser.forget('_session');
  const wrong = [];
  let single = 0;
  const moving = of('carried', 'changed', 'voided');
  for (const person of moving) {
    await led(person, newsroom, 'mgpass');
    const first = await person.signIn(newsroom);
    if (first.side !== 'mgpass' || first.subject !== person.subject) wrong.push(person.username);
    book.asked.set(person, first.asked);
    const second = await person.signIn(console_);
    if (second.side === 'mgpass' && second.asked === 0) single += 1;
  }
  for (const person of of('factor')) if ((await person.signIn(newsroom)).side !== 'logto') wrong.push(person.username);
  for (const person of of('dormant')) if ((await person.leadsTo(newsroom)) !== 'logto') wrong.push(person.username);
  scene.expect('people at the wrong side, or under another id', wrong.length, '0', wrong.length === 0);
  for (const line of wrong) console.log(`      ${line}`);
  scene.expect('the second application signs in by the first at mgPass', `${single} of ${moving.length}`, 'all', single === moving.length);
  await walk(scene, book, 'dual_write, share 100', 'mgpass');
  for (const walker of book.people.walkers) book.asked.set(walker, 1);
  const once = [...book.asked.values()].filter((times) => times === 1).length;
  scene.expect('forecast against what happened: by the password of before', `${once} once each, of ${book.asked.size}`, `${book.forecastOf('carried')}, once each`, once === book.asked.size && once === book.forecastOf('carried'));
  await book.refreshAll('dual_write, share 100');
}

export async function backAndUp(scene, book) {
  scene.heading('The share goes back, and up again');
  const [newsroom] = book.apps;
  await book.share(0);
  const back = await Promise.all(book.people.people.map((person) => person.leadsTo(newsroom)));
  const n = back.filter((side) => side === 'mgpass').length;
  scene.expect('login links that lead to mgPass at share 0', n, '0', n === 0);
  await book.refreshAll('dual_write, share 0 again');
  await walk(scene, book, 'dual_write, share 0 again', 'logto');
  await book.share(100);
  await walk(scene, book, 'dual_write, share 100 again', 'mgpass');
}

/** Each backend down in turn, `stage` says when. */
export async function down(scene, book, stage) {
  scene.heading(`${stage}: mgPass down, Logto down`);
  const { logto, mgpass } = scene;
  const [newsroom] = book.apps;
  const ofMgpass = book.sessions().filter(({ app, session }) => app === newsroom && session.side === 'mgpass').slice(0, 2);
  const ofLogto = book.sessions().filter(({ session }) => session.side === 'logto').slice(0, 2);
  await mgpass.off();
  const [ready] = book.people.of('carried');
  const isAt = async () => (await ready.leadsTo(newsroom)) === 'logto';
  const leads = await until('the link leads to Logto', isAt, { withinMs: 20_000, everyMs: 500 }).then(() => 'logto', () => 'mgpass');
  scene.expect(`${stage}, mgPass down: a ready browser is sent, within 20 s, to`, leads, 'logto', leads === 'logto');
  const nLogto = ofLogto.length - await book.refused(ofLogto);
  const nTold = await book.refused(ofMgpass);
  scene.expect(`${stage}, mgPass down: Logto's tokens refreshed; mgPass's refused`, `${nLogto} of ${ofLogto.length}; ${nTold} of ${ofMgpass.length}`, 'all', nLogto === ofLogto.length && nLogto > 0 && nTold === ofMgpass.length && nTold > 0);
  await mgpass.on();
  // The breaker opens again by itself.
  await pause(11_000);
  await book.refreshAll(`${stage}, mgPass up again`);
  await logto.off();
  const still = book.sessions().filter(({ app, session }) => app === newsroom && session.side === 'mgpass').slice(0, 2);
  const other = book.sessions().filter(({ session }) => session.side === 'logto').slice(0, 2);
  const nMgpass = still.length - await book.refused(still);
  const nRefused = await book.refused(other);
  scene.expect(`${stage}, Logto down: mgPass's tokens refreshed; Logto's refused`, `${nMgpass} of ${still.length}; ${nRefused} of ${other.length}`, 'all', nMgpass === still.length && nMgpass > 0 && nRefused === other.length);
  await logto.on();
  await book.refreshAll(`${stage}, Logto up again`);
}
