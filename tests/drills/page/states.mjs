// The states of the page, in the order of a day: closed, signed out, empty, healthy, a
// refused flag, parked users, a guard that stopped, backends down, a proxy that is silent.

import assert from 'node:assert/strict';

import { codes } from '../operator/desk.mjs';
import { pause, signIn } from '../../harness/sandbox/client.mjs';
import { people as rewarded } from '../../harness/sandbox/rewards.mjs';
import { say, startReaders, TOKEN, until, writePast } from './desk.mjs';

const PEOPLE = 60;
const ALL_LOOKS = ['wide-light', 'wide-dark', 'narrow-light', 'narrow-dark'];
const STATUS_401 = /status of 401/;

export async function states(desk, browser) {
  await door(desk, browser);
  await nothingYet(desk, browser);
  await healthy(desk, browser);
  await keyboard(desk, browser);
  await plan(desk, browser);
  await flagRefused(desk, browser);
  await parked(desk, browser);
  await guardStopped(desk, browser);
  await backendsDown(desk, browser);
  await silent(desk, browser);
  await kept(desk, browser);
}

/** The page asked anew, and what it shows then. */
export async function looked({ page }) {
  const asked = page.waitForResponse((answer) => answer.url().includes('/flags/history'));
  await page.getByRole('button', { name: 'Look again' }).click();
  await asked;
  await pause(200);
}
const seen = (desk, browser, code) => until(`${code} on the page`, async () => {
  if (!codes(await desk.status()).includes(code)) return false;
  await looked(browser);
  return (await browser.page.locator('#problem-list').innerText()).includes(code);
});

async function door(desk, browser) {
  const { page } = browser;
  const answer = await page.goto(`${desk.origin}/_proxy/`);
  const headers = answer.headers();
  assert.equal(answer.status(), 200);
  assert.match(headers['content-security-policy'], /^default-src 'none'; script-src 'sha256-[A-Za-z0-9+/]{43}='; style-src 'sha256-/);
  assert.equal(headers['cache-control'], 'no-store');
  assert.equal(headers['set-cookie'], undefined);
  await browser.look('signed-out', ALL_LOOKS);
  browser.expected.push(STATUS_401);
  await page.getByLabel('Admin token').fill('not-the-token');
  await page.keyboard.press('Enter');
  await page.getByText('did not take this token').waitFor();
  assert.equal(await page.getByLabel('Admin token').inputValue(), '');
  assert.equal(await page.locator('#desk').isVisible(), false);
  await browser.look('wrong-token');
  browser.expected.splice(browser.expected.indexOf(STATUS_401), 1);
}

async function enter({ page }) {
  // By keyboard alone: the form has the focus from the start.
  await page.keyboard.type(TOKEN);
  await page.keyboard.press('Tab');
  await page.keyboard.type('Ama');
  await page.keyboard.press('Enter');
  await page.locator('#desk').waitFor();
  await page.getByText(/^Stage /).waitFor();
}

async function nothingYet(desk, browser) {
  await enter(browser);
  await pause(1_500);
  await looked(browser);
  const text = await browser.page.locator('#main').innerText();
  for (const expected of ['No plan yet', 'No flag is set', 'Nobody.', 'No job yet', 'stage_off']) assert.ok(text.includes(expected), `${expected} not in\n${text}`);
  await browser.look('empty', ALL_LOOKS);
}

async function healthy(desk, browser) {
  const { page } = browser;
  await desk.logto.call('POST', '/users/bulk', { count: PEOPLE, seed: 'page' });
  for (const person of rewarded) desk.sandbox.logto.users.create(person);
  // Points of somebody whom nobody knows: not today's subject.
  await desk.sandbox.databases.rewards.batch(['rewards_users', 'rewards_ledger'].map((table) => desk.sandbox.databases.rewards.prepare(`DELETE FROM ${table} WHERE user_id = 'rewardsghost'`)));
  await desk.flag('stage', 'shadow');
  await until('shadow', async () => (await desk.status()).stage === 'shadow');
  const job = async (route, kind) => {
    assert.equal((await desk.operator('POST', route)).status, 202);
    await until(`${kind} done`, async () => (await desk.status()).jobs.find((one) => one.kind === kind)?.state === 'done');
  };
  await job('import?kind=users', 'users');
  await job('import?kind=points', 'points');
  await job('equality', 'equality');
  await desk.flag('stage', 'dual_write');
  await desk.flag('compare_percent', '50');
  await desk.flag('read_percent', '50');
  await writePast(desk);
  desk.ids = [...desk.sandbox.logto.users.values()].map(({ id }) => id);
  desk.readers = startReaders(desk, desk.ids);
  await until('reads at mgPass', async () => (await desk.status()).reads.realised_bps > 1_000);
  await until('a pass of the guard', async () => (await desk.status()).verdicts[0]?.verdict === 'pass');
  await until('nothing wrong', async () => {
    const { problems } = await desk.status();
    return problems.every(({ severity }) => severity === 'notice');
  });
  await pause(1_500);
  await looked(browser);
  assert.equal(await page.locator('.plot').count(), 7);
  for (const span of ['day', 'week', 'hour']) {
    const asked = page.waitForResponse((answer) => answer.url().includes('/_proxy/history?hours='));
    await page.getByRole('radio', { name: span }).check();
    await asked;
    await pause(300);
    if (span !== 'hour') await browser.look(`healthy-${span}`, span === 'week' ? ['wide-light', 'narrow-dark'] : ['wide-light']);
  }
  await browser.look('healthy', ALL_LOOKS);
  const shown = await page.locator('#tiles').innerText();
  assert.match(shown, /Reads at mgPass, asked\s+50 %/);
  await page.getByText('The same as a table').click();
  await page.locator('#plot-rows tbody tr').nth(40).waitFor();
  await browser.look('healthy-table');
  await page.getByText('The same as a table').click();
}

async function keyboard(desk, browser) {
  const { page } = browser;
  await page.locator('#main').focus();
  const names = [];
  for (let nth = 0; nth < 6; nth += 1) {
    await page.keyboard.press('Tab');
    names.push(await page.evaluate(() => document.activeElement.id || document.activeElement.textContent || document.activeElement.value));
  }
  assert.ok(names.includes('cursor'), `the cursor is reached: ${names}`);
  await page.locator('#cursor').focus();
  const before = await page.locator('#readout').innerText();
  await page.keyboard.press('ArrowLeft');
  const after = await page.locator('#readout').innerText();
  assert.notEqual(before, after);
  assert.match(after, /^20\d\d-\d\d-\d\d \d\d:\d\d:00 UTC: \w+\. asked \d+ %, allowed/);
  assert.equal(await page.locator('#cursor').getAttribute('aria-valuetext'), after);
  say(`  by keyboard: ${after.slice(0, 110)}`);
  await page.keyboard.press('End');
}

/** A button, a dialog, no; the same, yes. */
async function twice(browser, name, yes) {
  const { page } = browser;
  const posts = [];
  const note = (request) => request.method() === 'POST' && posts.push(new URL(request.url()).pathname + new URL(request.url()).search);
  page.on('request', note);
  await page.getByRole('button', { name }).first().focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'ask-no', 'the dialog does nothing by itself');
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
  assert.deepEqual(posts, []);
  await page.getByRole('button', { name }).first().click();
  await browser.look(`ask-${name.toLowerCase().replaceAll(' ', '-')}`);
  await page.getByRole('button', { name: yes }).click();
  await page.locator('#said').getByText('done').waitFor();
  page.off('request', note);
  return posts;
}

async function plan(desk, browser) {
  const started = await desk.operator('POST', 'ramp/start?steps=60,80,100&hold_s=3600&actor=Ama&reason=Monday');
  assert.equal(started.status, 202, started.text);
  await looked(browser);
  assert.deepEqual(await twice(browser, 'Pause the ramp plan', 'Yes: pause the ramp plan'), ['/_proxy/ramp/pause?actor=Ama']);
  assert.equal((await desk.status()).ramp.state, 'paused');
  assert.deepEqual(await twice(browser, 'Resume the ramp plan', 'Yes: resume the ramp plan'), ['/_proxy/ramp/resume?actor=Ama']);
  await until('running again', async () => (await desk.status()).ramp.state === 'running');
  await looked(browser);
  await browser.look('ramp', ['wide-light', 'narrow-light']);
}

async function flagRefused(desk, browser) {
  const hostile = '<img src=x onerror="document.title=1"><script>alert(1)</script>';
  await desk.flag('salt', hostile.repeat(3));
  await desk.flag('jwks_union', hostile);
  await desk.flag('read_precent', '10');
  await desk.flag('kill_switch', 'yes');
  await seen(desk, browser, 'flag_refused');
  await seen(desk, browser, 'flag_unknown');
  const { page } = browser;
  assert.ok((await page.locator('#flags').innerText()).includes(hostile.slice(0, 60)), 'markup is text');
  assert.equal(await page.locator('#main img, #desk script').count(), 0);
  assert.ok(await page.locator('#flags tr.bad').count() >= 3);
  await browser.look('flag-refused', ALL_LOOKS);
  for (const key of ['salt', 'jwks_union', 'read_precent', 'kill_switch']) await desk.flag(key, null);
  await until('the flags are well', async () => !codes(await desk.status()).includes('flag_refused'));
}

async function parked(desk, browser) {
  const { mgpass } = desk.sandbox.databases;
  const emails = ['both1@example.test', 'both2@example.test', 'both3@example.test'];
  for (const [nth, email] of emails.entries()) {
    await mgpass.prepare('INSERT INTO users (id, email, created_at) VALUES (?, ?, 1)').bind(`ownuser0000${nth}`, email).run();
    assert.equal((await desk.ask('POST', '/users', { primaryEmail: email })).status, 200);
  }
  await until('three are parked', async () => (await desk.status()).outbox.n_parked === 3);
  await seen(desk, browser, 'parked');
  await browser.look('parked', ALL_LOOKS);
  await mgpass.prepare("UPDATE users SET email = NULL WHERE id LIKE 'ownuser%'").run();
  assert.deepEqual(await twice(browser, 'Replay', 'Yes: replay'), ['/_proxy/mirror/replay?reason=value_taken_at_mgpass']);
  assert.match(await browser.page.locator('#said').innerText(), /3 users/);
  await until('nobody is parked', async () => (await desk.status()).outbox.n_parked === 0);
}

async function guardStopped(desk, browser) {
  await desk.mgpass.faults([{ match: { path: '^/api/users' }, status: 503, body: { error: 'unavailable' } }]);
  await seen(desk, browser, 'guard_stopped');
  assert.match(await browser.page.title(), /^\(!\) \d critical.*dual_write/);
  await browser.look('guard-stopped', ALL_LOOKS);
  await desk.mgpass.faults([]);
  await desk.flag('guard', null);
  await until('the guard is lifted', async () => (await desk.status()).guard === null);
}

async function backendsDown(desk, browser) {
  await desk.mgpass.off();
  await desk.logto.off();
  assert.ok((await desk.ask('PATCH', `/users/${desk.ids[0]}`, { name: 'Later' })).status >= 500);
  await until('reads of both fail', async () => {
    const { reads, problems } = await desk.status();
    return reads.logto.failures > 0 && reads.mgpass.failures > 0 && problems.some(({ severity }) => severity !== 'notice');
  });
  await looked(browser);
  await browser.look('backends-down', ['wide-light', 'narrow-dark']);
  await desk.mgpass.on();
  await desk.logto.on();
  await desk.flag('guard', null);
}

async function silent(desk, browser) {
  const { page, context } = browser;
  const gone = /ERR_INTERNET_DISCONNECTED/;
  browser.expected.push(gone);
  await context.setOffline(true);
  await page.getByRole('button', { name: 'Look again' }).click();
  await page.getByRole('alert').getByText('No answer since').waitFor();
  await browser.look('proxy-silent');
  await context.setOffline(false);
  await looked(browser);
  await page.getByRole('alert').waitFor({ state: 'hidden' });
  browser.expected.splice(browser.expected.indexOf(gone), 1);
}

/** The token is in memory alone, and gone with the page. */
async function kept(desk, browser) {
  const { page, context } = browser;
  const stored = await page.evaluate(() => JSON.stringify([location.href, { ...localStorage }, { ...sessionStorage }, document.cookie, document.documentElement.outerHTML, [...document.querySelectorAll('input')].map(({ value }) => value), history.state, Object.keys(window).map((name) => String(window[name]))]));
  assert.ok(!stored.includes(TOKEN), 'the token stands in the page');
  assert.deepEqual(await context.cookies(), []);
  assert.ok(browser.addresses.every((address) => !address.includes(TOKEN)), 'the token stands in an address');
  await page.reload();
  assert.ok(await page.getByLabel('Admin token').isVisible());
  assert.equal(await page.locator('#desk').isVisible(), false);
  await enter(browser);
  await page.getByRole('button', { name: 'Sign out' }).click();
  assert.equal(await page.locator('#desk').isVisible(), false);
  assert.ok(!(await page.locator('#main').innerHTML()).includes('dual_write'), 'something is left behind');
  await enter(browser);
  browser.assertQuiet();
  say('the token: in memory alone, gone with a reload');
  // Used by whoever comes next.
  desk.signIn = (person) => signIn({ origin: desk.origin, issuer: `${desk.origin}/oidc`, ...person });
}
