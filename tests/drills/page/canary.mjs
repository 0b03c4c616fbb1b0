// A user with a value in every field that no other text holds: mirrored, read, found
// different, parked, imported, compared. None of the values may show in anything that an
// operator or a scraper is shown, nor in a line of the log.

import assert from 'node:assert/strict';

import { mgpassToken } from '../../harness/sandbox/client.mjs';
import { say, until } from './desk.mjs';

const WORD = 'kanarienvogel';
const PHONE = '233209988776';
const ROUTES = [
  'status', 'metrics', 'mirror', 'history?hours=1', 'flags/history?limit=1000', 'parked', 'parked?kind=users', 'import?kind=users&detail=true',
  'import/users?kind=users', 'equality', 'equality/differences', 'ramp', 'checklist', 'authority', 'handover/log', 'holds', 'jwks',
];

const person = (mark) => ({
  username: `${WORD}_user_${mark}`,
  primaryEmail: `${WORD}.${mark}@example.test`,
  primaryPhone: `${PHONE}${mark}`,
  name: `${WORD} name ${mark}`,
  avatar: `https://pictures.example.test/${WORD}-${mark}.png`,
  password: `${WORD}-Password-${mark}`,
  // Names of members are the application's, and findings show them; values are the user's.
  customData: { favourite: `${WORD} value`, note: [`${WORD} in a list`, { deep: `${WORD} deep` }] },
  profile: Object.fromEntries(['familyName', 'givenName', 'middleName', 'nickname', 'preferredUsername', 'website', 'gender', 'birthdate', 'zoneinfo', 'locale']
    .map((field) => [field, field === 'website' ? `https://${WORD}.example.test/` : `${WORD} ${field}`])
    .concat([['address', { formatted: `${WORD} street`, locality: `${WORD} town`, country: `${WORD} land` }]])),
});

export async function canary(desk, browser) {
  const { mgpass } = desk.sandbox.databases;
  await desk.flag('read_percent', '100');
  await desk.flag('compare_percent', '100');
  const made = [];
  for (const mark of ['1', '2', '3']) {
    // Somebody of mgPass's own has the third one's address: parked.
    if (mark === '3') await mgpass.prepare("INSERT INTO users (id, email, name, created_at) VALUES ('ownuser00009', ?, ?, 1)").bind(person('3').primaryEmail, `${WORD} own`).run();
    const answer = await desk.ask('POST', '/users', person(mark));
    assert.equal(answer.status, 200, answer.text);
    made.push(answer.json().id);
    const identity = await desk.ask('PUT', `/users/${made.at(-1)}/identities/google`, { userId: `${WORD}-google-${mark}`, details: { email: `${WORD}.g${mark}@example.test`, name: `${WORD} social`, avatar: `https://${WORD}.example.test/a.png` } });
    assert.ok([200, 201].includes(identity.status), identity.text);
  }
  const [first, second, third] = made;
  await desk.signIn({ username: `${WORD}_registered`, password: `${WORD}-Password-4`, register: true });
  await until('one is parked', async () => (await desk.status()).parked.length > 0);
  // A write of the states before, which Logto never answered, stays open for a quarter of an hour.
  const open = () => desk.sandbox.databases.proxy.prepare('SELECT count(*) AS n FROM intents WHERE subject IN (?, ?) AND discharged_at IS NULL').bind(first, second).first('n');
  await until('the mirror is through', async () => (await open()) === 0, 60_000);
  // mgPass says otherwise of one than its rows do: compared reads differ.
  const told = await fetch(`${desk.sandbox.mgpass.url}/api/users/${first}`, { headers: { authorization: `Bearer ${await mgpassToken(desk.sandbox.mgpass.url)}` } });
  const lie = JSON.parse((await told.text()).replaceAll(`${WORD} name`, `${WORD} lie`).replaceAll(`${WORD} value`, `${WORD} lied`));
  await desk.mgpass.faults([{ match: { method: 'GET', path: `^/api/users/${first}$` }, status: 200, body: lie }]);
  await until('different reads are found', async () => {
    for (const id of made) for (const route of ['', '/custom-data', '/identities/google']) await desk.ask('GET', `/users/${id}${route}`);
    return (await desk.status()).findings.length > 0;
  }, 60_000);
  await desk.mgpass.faults([]);
  // Edited in its rows past everything: the walk finds it.
  await mgpass.prepare(`UPDATE users SET name = '${WORD} altered', metadata = '{"other":"${WORD}"}', avatar = 'https://${WORD}.example.test/b.png' WHERE id = ?`).bind(first).run();
  await until('the edit is found', async () => (await desk.status()).found.some(({ code }) => code === 'altered_at_mgpass'), 60_000);
  await desk.ask('PATCH', `/users/${second}`, { primaryEmail: 'no address at all', name: `${WORD} refused` });
  await desk.ask('PATCH', `/users/${second}`, { name: `${WORD} renamed` });
  await desk.ask('PATCH', `/users/${second}/custom-data`, { customData: { another: WORD } });
  await desk.ask('GET', `/users?search=%25${WORD}%25`);
  await desk.operator('POST', 'equality');
  await until('compared', async () => (await desk.status()).jobs.find(({ kind, state }) => kind === 'equality' && state === 'done'));
  await desk.operator('POST', 'import?kind=users');
  await until('imported', async () => (await desk.status()).jobs.find(({ kind, state }) => kind === 'users' && state === 'done'));

  const places = new Map();
  for (const route of [...ROUTES, ...made.map((id) => `explain?user=${id}`)]) places.set(`/_proxy/${route}`, (await desk.operator('GET', route)).text);
  const { page } = browser;
  for (const code of ['parked', 'findings']) assert.ok(await page.locator(`#${code}`).isVisible());
  await page.getByRole('button', { name: 'Look again' }).click();
  await page.locator('#parked').getByText('value_taken_at_mgpass').waitFor();
  places.set('the page', await page.content());
  await browser.look('canary');
  // All that the proxy keeps of its own.
  for (const name of ['proxy', 'metrics']) {
    const database = desk.sandbox.databases[name];
    const { results: tables } = await database.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE '\\_cf%' ESCAPE '\\'").all();
    for (const { name: table } of tables) places.set(`table ${table}`, JSON.stringify((await database.prepare(`SELECT * FROM ${table}`).all()).results));
  }
  places.set('the log', desk.log.join('\n'));
  assert.ok(places.get('/_proxy/mirror').includes('altered_at_mgpass'));
  assert.ok(places.get('the log').length > 10_000 && places.get(`/_proxy/explain?user=${third}`).includes('value_taken_at_mgpass'));
  for (const [place, text] of places) {
    for (const value of [WORD, PHONE]) {
      const at = text.toLowerCase().indexOf(value);
      assert.ok(at < 0, `${place} has ${text.slice(Math.max(0, at - 200), at + 80)}`);
    }
  }
  say(`${places.size} places, ${desk.log.length} lines of the log: no value of a user's`);
}
