// Stages off and shadow: everybody registers and signs in at Logto, and nothing moves.

import { writeFileSync } from 'node:fs';
import path from 'node:path';

import { management, managementToken, until } from '../../harness/sandbox/client.mjs';
import { startDesk, startPortal } from './clients.mjs';
import { walk, walkDesk } from './people.mjs';
import { Person, startApplication } from './scene.mjs';

const FACTOR = { id: 'totp00000000000000001', type: 'Totp', createdAt: '2026-10-01T08:00:00.000Z' };

export async function off(scene, book, { deskPort, executable }) {
  scene.heading('Stage off: everybody is at Logto');
  const { people, of, walkers, everybody } = book.people;
  const { sandbox } = scene;
  for (const name of ['newsroom', 'console']) book.apps.push(await startApplication(name, sandbox));
  book.apps.push(await startPortal(sandbox));
  const [newsroom, console_] = book.apps;
  const list = path.join(scene.persistTo, 'applications.json');
  writeFileSync(list, JSON.stringify(book.apps.map(({ listed }) => listed)));
  await scene.dwp(['app', 'set', list, '--persist-to', scene.persistTo]);
  await until('the applications are known', async () => (await fetch(newsroom.login.link, { redirect: 'manual' })).status === 303);

  let byOne = 0;
  for (const person of people) {
    person.subject = (await person.signIn(newsroom, { register: true })).subject;
    const second = await person.signIn(console_);
    if (second.asked === 0 && second.subject === person.subject) byOne += 1;
  }
  scene.expect('registered; the second application signs in by the first', `${byOne} of ${people.length}`, 'all', byOne === people.length);
  for (const [index, walker] of walkers.entries()) {
    walker.home = await walker.signIn(book.apps[index], { register: true });
    walker.subject = walker.home.subject;
  }
  book.ask = management(scene.url, await managementToken(`${scene.url}/oidc`));
  for (const person of everybody) {
    const changed = await book.ask('PATCH', `/users/${person.subject}`, { primaryEmail: person.email });
    if (changed.status !== 200) throw new Error(changed.text);
    person.mailbox = () => book.code(person.subject);
  }
  // No route of Logto's enrols one without the person's device.
  for (const { subject } of of('factor')) sandbox.logto.users.update(subject, { mfaVerifications: [FACTOR] });

  book.desk = await startDesk({ sandbox, port: deskPort, executable });
  book.atDesk = new Person(2_000, scene.url);
  book.atDesk.subject = await book.desk.signIn(book.atDesk, { register: true });
  scene.expect('clients', `openid-client public and confidential, @logto/node, @logto/browser in Chromium ${book.desk.version}`, 'each', true);
  await book.refreshAll('off');
  await walk(scene, book, 'off', 'logto');
  await walkDesk(scene, book, 'off');
}

export async function shadow(scene, book) {
  scene.heading('Stage shadow');
  await book.flag('stage', 'shadow');
  await book.flag('mgpass_pages', 'closed');
  await book.share(100);
  const [newsroom] = book.apps;
  for (const { browser } of book.people.people) browser.forget('_session');
  const leads = await Promise.all(book.people.people.map((person) => person.leadsTo(newsroom)));
  const n = leads.filter((side) => side === 'mgpass').length;
  scene.expect('shadow: login links that lead to mgPass', n, '0', n === 0);
  await book.refreshAll('shadow');
  await walk(scene, book, 'shadow', 'logto');
  await walkDesk(scene, book, 'shadow');
  await book.share(0);
}
