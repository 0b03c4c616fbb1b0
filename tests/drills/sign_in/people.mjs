// Who is in the drill: people by what will become of their password, and one walker for each
// application, who signs out and in again at every stage.

import { until } from '../../harness/sandbox/client.mjs';
import { Person, SIGNED_OUT } from './scene.mjs';

/** In turn, by number. */
const KINDS = [
  // Signs in at Logto while passwords are carried, and at mgPass with the same one.
  'carried',
  // Changes it at Logto before they have been at mgPass: the new one is carried.
  'changed',
  // Changes it at Logto after: void at mgPass, set anew by the reset campaign.
  'voided',
  // Does not sign in meanwhile: mgPass's page asks them for a new one after the cutover.
  'dormant',
  // Has a second factor at Logto: never carried, never moved.
  'factor',
];

export function population(n, origin) {
  const people = Array.from({ length: n }, (_, number) => Object.assign(new Person(number, origin), { kind: KINDS[number % KINDS.length] }));
  const of = (...kinds) => people.filter(({ kind }) => kinds.includes(kind));
  const walkers = Array.from({ length: 3 }, (_, number) => Object.assign(new Person(1_000 + number, origin), { kind: 'walker' }));
  return { people, of, walkers, everybody: [...people, ...walkers], moving: [...of('carried', 'changed', 'voided'), ...walkers] };
}

/** Where the link leads in the end: a busy machine keeps mgPass from answering within its second, and all are at Logto for some. */
export const led = (person, app, side) => until(side, async () => (await person.leadsTo(app)) === side, { withinMs: 60_000, everyMs: 2_000 }).catch(() => {});

/** Each walker signs out at both sides, and in again where the link leads. `retired`: Logto brings nobody back any more. */
export async function walk(scene, book, stage, side, { retired = false } = {}) {
  let n = 0;
  const wrong = [];
  for (const walker of book.people.walkers) {
    const { app, side: at } = walker.home;
    const out = await walker.signOut(app, app.starts[at]);
    const isOut = retired ? /^200 You are signed out/.test(out) : out?.startsWith(SIGNED_OUT);
    await led(walker, app, side);
    const again = await walker.signIn(app);
    walker.home = again;
    const session = app.sessions().find(({ id }) => id === again.id);
    const isFresh = await book.refresh({ app, session }).then(() => true, () => false);
    if (isOut && again.side === side && again.subject === walker.subject && again.asked === 1 && isFresh) n += 1;
    else wrong.push(`${app.name}: out to ${out}, in at ${again.side}, asked ${again.asked} times, ${isFresh ? '' : 'not '}refreshed`);
  }
  scene.expect(`${stage}: signed out at both, in again at ${side}, refreshed`, `${n} of ${book.people.walkers.length} applications`, 'all', wrong.length === 0);
  for (const line of wrong) console.log(`      ${line}`);
}

/** The same of `@logto/browser`, whose application stays at Logto. */
export async function walkDesk(scene, book, stage) {
  const { desk, atDesk } = book;
  const before = await fresh(book, desk);
  const out = await desk.signOut();
  const subject = await desk.signIn(atDesk);
  const after = await fresh(book, desk);
  const isSo = !before.error && !after.error && before.rotated && after.rotated && subject === atDesk.subject && out.startsWith(`${desk.origin}/signed-out`);
  scene.expect(`${stage}: @logto/browser in Chromium: refreshed, out, in, refreshed`, isSo ? 'each' : JSON.stringify({ before, out, subject, after }), 'each', isSo);
}

export async function fresh(book, desk) {
  book.note(await desk.refreshToken());
  return desk.refresh();
}
