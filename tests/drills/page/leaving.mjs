// The page after the hand-over: what stands in the way of leaving Logto alone, what was
// named and taken along, and, once all is cleared, whether anything is left. The row that
// says whose data wins is moved in both databases, as a hand-over moves it.

import assert from 'node:assert/strict';

import { say, until } from './desk.mjs';
import { looked } from './states.mjs';

const DAY_MS = 86_400_000;

export async function leaving(desk, browser) {
  const { page } = browser;
  const section = page.locator('#leaving');
  assert.equal(await section.isVisible(), false, 'before the hand-over there is nothing to leave');
  await desk.readers?.stop();
  desk.readers = undefined;
  await holder(desk, 'mgpass', 21);
  await shows(desk, browser, /gates are shut/i);
  assert.match(await page.locator('#where').innerText(), /^Stage cutover\. mgPass is the source of truth/);
  const before = await section.innerText();
  for (const part of ['not kept: dwp cleanup keep-issuer', 'no end is named', 'not taken along', 'The stage is not cleanup.', 'clearing waits not_in_cleanup']) assert.ok(before.toLowerCase().includes(part.toLowerCase()), `${part} not in\n${before}`);
  assert.equal(await section.locator('tr.bad').filter({ hasText: 'issuer' }).count(), 1);
  await browser.look('cleanup-gates', ['wide-light', 'wide-dark', 'narrow-light', 'narrow-dark']);

  await until("Logto's documents are kept", async () => (await desk.operator('POST', 'cleanup/issuer')).status === 200);
  const note = async (query) => assert.equal((await desk.operator('POST', `cleanup/note?${new URLSearchParams(query)}`)).status, 200);
  await note({ name: 'refresh_tokens', until: String(Date.now() + 30 * DAY_MS), actor: 'Ama' });
  const { sequence } = (await desk.operator('GET', 'cleanup/residue?since=0')).json();
  await note({ name: 'residue', until: String(sequence), how: 'exported', n: '64', digest: '0'.repeat(64), actor: 'Ama' });
  await shows(desk, browser, /kept 20\d\d-/);
  const named = await section.innerText();
  for (const part of [/end 20\d\d-.*says Ama/, /exported, of 64 users/, /issuer\s+open/i]) assert.match(named, part);
  await browser.look('cleanup-named', ['wide-light', 'narrow-dark']);

  await desk.flag('stage', 'cleanup');
  await desk.flag('salt', 'left behind');
  await holder(desk, 'alone', 22);
  await note({ name: 'route', until: String(Date.now() + DAY_MS), how: 'a drill', actor: 'Ama' });
  await note({ name: 'archive', until: String(Date.now() + DAY_MS), digest: '0'.repeat(64), n: '1', actor: 'Ama' });
  await until('all is cleared', async () => (await desk.operator('POST', 'cleanup/step')).json().step === null);
  await shows(desk, browser, /steps cleared/i);
  assert.match(await page.locator('#where').innerText(), /^Stage cleanup\. .*Logto is not asked any more/);
  const left = await section.innerText();
  assert.match(left, /clean\s+DB names no user/i);
  // One that nobody has deleted.
  assert.match(left, /left\s+FLAGS holds no key but the stage/i);
  await browser.look('cleanup-cleared', ['wide-light', 'wide-dark', 'narrow-light', 'narrow-dark']);
  say('leaving Logto alone: gates, what was named, what is left');
}

async function holder(desk, name, generation) {
  const { proxy, mgpass } = desk.sandbox.databases;
  await proxy.prepare('UPDATE authority SET holder = ?, generation = ?, announced_at = NULL, announced_until = NULL, wish = NULL').bind(name, generation).run();
  await mgpass.prepare('UPDATE logto_mirror_authority SET generation = ?').bind(generation).run();
  await until(`${name} in the status`, async () => (await desk.status()).authority.holder === name);
}

const shows = (desk, browser, what) => until(`${what} on the page`, async () => {
  await looked(browser);
  return what.test(await browser.page.locator('#leaving').innerText());
}, 120_000);
