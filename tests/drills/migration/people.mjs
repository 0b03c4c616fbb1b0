// People who are signed in all the way: two applications of one group, each with a client at
// both sides (docs/applications/login.mjs), and a browser each. At every phase each session
// is refreshed; one that cannot be is a session that somebody ended.

import { presented } from '../sign_in/judge.mjs';
import { Person, startApplication } from '../sign_in/scene.mjs';
import { pause, realNow, until } from './scene.mjs';

const N = 8;
/** Every fourth has no social account that mgPass knows: a person must help them. */
export const isReady = ({ number }) => number % 4 !== 3;

const KEPT = {
  logto: '^/(oidc/(token|auth|session|me)|api/(experience|interaction)|consent|sign-in)',
  mgpass: '^/(token|authorize|revoke|logout|userinfo)',
};

/** Stage off: both applications, and everybody registers at Logto. */
export async function registerPeople(scene) {
  for (const side of ['logto', 'mgpass']) await scene[side].call('PUT', '/keep', { path: KEPT[side] });
  for (const name of ['newsroom', 'console']) scene.apps.push(await startApplication(name, scene.sandbox));
  scene.people = Array.from({ length: N }, (_, number) => new Person(number, scene.url));
  Object.assign(scene, { sent: new Map(), refreshes: [], asked: new Map() });
  await scene.put('applications', JSON.stringify(scene.apps.map(({ listed }) => listed)), () => true);
  const [newsroom] = scene.apps;
  await until('the applications are known', async () => (await fetch(newsroom.login.link, { redirect: 'manual' })).status === 303);
  const byOne = await all(scene.people, async (person) => {
    person.subject = (await person.signIn(newsroom, { register: true })).subject;
    const second = await person.signIn(scene.apps[1]);
    return second.asked === 0 && second.subject === person.subject;
  });
  return byOne.filter(Boolean).length;
}

/** At the same time, as people are. */
const all = (list, work) => Promise.all(list.map(work));

const sessions = (scene) => scene.apps.flatMap((app) => app.sessions().map((session) => ({ app, session })));

/** Everybody's, at whichever side; what came of it is kept for the judge. */
export async function refreshAll(scene, phase, { only = () => true } = {}) {
  await all(sessions(scene).filter(only), async ({ app, session }) => {
    scene.sent.set(session.refreshToken, (scene.sent.get(session.refreshToken) ?? 0) + 1);
    const entry = { at: realNow(), phase, app: app.name, side: session.side, subject: session.subject, isDone: true };
    try {
      await app.login.refresh(session);
    } catch (error) {
      Object.assign(entry, { isDone: false, why: `${error.code ?? error.message} ${JSON.stringify(error.cause ?? {}).slice(0, 200)}` });
      console.error(`a session ended: ${JSON.stringify(entry)}`);
    }
    scene.refreshes.push(entry);
  });
}

/** An address each, by the application; who can has a social account. */
export async function giveRoads(scene, ask) {
  await all(scene.people, async (person) => {
    const changed = await ask('PATCH', `/users/${person.subject}`, { primaryEmail: person.email });
    if (changed.status !== 200) throw new Error(changed.text);
    if (isReady(person)) await ask('PUT', `/users/${person.subject}/identities/google`, { userId: `google-${person.number}` });
  });
}

/** What a reset campaign, or a help desk, comes to. */
export async function givePasswords(scene, people) {
  for (const person of people) await scene.mgpassApi('PATCH', `/users/${person.subject}`, { password: person.password });
}

const leave = (people) => { for (const { browser } of people) browser.forget('_session'); };

/** Browsers are marked as ready: judged behind a first sign-in, marked at the second. */
export async function markReady(scene) {
  for (let round = 0; round < 2; round += 1) {
    leave(scene.people);
    await all(scene.people, (person) => signIn(scene, person, scene.apps[0]));
    await pause(300);
  }
  return scene.people.filter(({ browser }) => browser.isMarkedReady).length;
}

async function signIn(scene, person, app) {
  const home = await person.signIn(app);
  if (home.subject !== person.subject) throw new Error(`${person.username} is somebody else at ${app.name}`);
  if (home.side === 'mgpass') scene.asked.set(person, (scene.asked.get(person) ?? 0) + home.asked);
  return home;
}

/** Whoever's browser has no live session at Logto signs in once more: {mgpass, logto}. */
export async function move(scene, people) {
  leave(people);
  const came = { mgpass: 0, logto: 0 };
  await all(people, async (person) => {
    for (const app of scene.apps) {
      const { side } = await signIn(scene, person, app);
      came[side] += 1;
    }
  });
  return came;
}

/** Sessions at Logto of people who have one at mgPass by now: replaced, not ended. */
export function forgetReplaced(scene) {
  let n = 0;
  for (const { store, sessions: all } of scene.apps) {
    const moved = new Set(all().filter(({ side }) => side === 'mgpass').map(({ subject }) => subject));
    for (const { id } of all().filter(({ side, subject }) => side === 'logto' && moved.has(subject))) {
      store.delete(`session ${id}`);
      n += 1;
    }
  }
  return n;
}

/** The applications' own settings change: mgPass's tokens no longer go through the proxy. */
export async function goStraightToMgpass(scene) {
  for (const [index, app] of scene.apps.entries()) {
    if (app.name !== 'newsroom') continue;
    scene.apps[index] = await startApplication(app.name, scene.sandbox, { throughProxy: false, store: app.store });
    await app.close();
  }
}

/** What both backends kept of token requests, for the judge. */
export async function tokenRequests(scene) {
  const [logto, mgpass] = await Promise.all(['logto', 'mgpass'].map((side) => scene[side].call('GET', '/kept')));
  return { kept: [...logto, ...mgpass], logto: presented(logto), mgpass: presented(mgpass) };
}
