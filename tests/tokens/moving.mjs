// Attacks on people whose sign-in moves: through the built Worker before both stand-ins, with
// the application of docs/applications/ between them. What reached a side is counted there.
//
//  1. mix_up.mjs: an answer of one side for the other's, and login CSRF across the hand-over
//  2. downgrade.mjs: a second factor at Logto and a password alone at mgPass
//  3. probing.mjs: a second way to try passwords


import { scratch } from '../harness/sandbox/scratch.mjs';
import { management, managementToken, REDIRECT_URI, until } from '../harness/sandbox/client.mjs';
import { controlOf, PROBE_VARS, SECRETS, startSandbox } from '../harness/sandbox/sandbox.mjs';
import { Browser } from '../harness/sandbox/browser.mjs';
import { hashPassword } from '../harness/backends/logto/passwords.mjs';
import { downgrades } from './downgrade.mjs';
import { mixUps } from './mix_up.mjs';
import { probing } from './probing.mjs';

export const SPA = 'sandboxspa00000000000';

/** `refused(kind, name, isRefused, found)` for each attack, `accepted(name, {status})` for each valid call. */
export async function movingAttacks(refused, accepted) {
  const { directory: persistTo, remove } = scratch('tokens');
  const vars = { PIN_SECRET: 'a-key-for-the-pin', HANDOVER_SECRET: 'a-secret-of-the-hand-over', WALK: 'off', PASSWORD_CARRY_PER_MINUTE: '600' };
  const sandbox = await startSandbox({ persistTo, vars });
  try {
    const place = await prepare(sandbox);
    await probing(place, refused, accepted);
    await downgrades(place, refused, accepted);
    await mixUps(place, refused, accepted);
  } finally {
    await sandbox.close();
    remove();
  }
}

// Stage dual_write, passwords carried, and people at Logto as an import would have put them.
async function prepare(sandbox) {
  const [logto, mgpass] = [controlOf(sandbox.logto), controlOf(sandbox.mgpass)];
  const origin = sandbox.proxy.url;
  await sandbox.flag('stage', 'dual_write');
  const api = management(origin, await managementToken(`${origin}/oidc`));
  const place = { sandbox, logto, mgpass, origin, api };
  // By the Management API, and by the mirror at mgPass.
  place.created = async (username, password) => {
    const answer = await api('POST', '/users', { username, primaryEmail: `${username}@example.test`, ...(password && { password }) });
    if (answer.status !== 200) throw new Error(answer.text);
    const { id } = answer.json();
    await place.mirrored(id);
    return id;
  };
  place.mirrored = (id) => until(`${id} is at mgPass`, () => sandbox.databases.mgpass.prepare('SELECT id FROM users WHERE id = ?').bind(id).first(), { withinMs: 20_000 });
  // Straight into Logto's rows: with what no API here enrols.
  place.row = async (id, password, more) => {
    const row = { id, username: id, primaryEmail: `${id}@example.test`, password: hashPassword(password), ...more };
    await logto.call('POST', '/users/rows', [row]);
  };
  place.stateOf = async (id) => (await sandbox.databases.proxy.prepare('SELECT state FROM passwords WHERE subject = ?').bind(id).first())?.state;
  // An interaction of a browser's, up to where a password is asked for.
  place.begin = async (at = origin) => {
    const browser = new Browser();
    const query = new URLSearchParams({
      client_id: SPA, redirect_uri: REDIRECT_URI, response_type: 'code', scope: 'openid offline_access', prompt: 'consent', state: 's',
      code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256',
    });
    await browser.ask('GET', `${at}/oidc/auth?${query}`);
    const step = (method, route, body) => browser.ask(method, `${at}/api/experience${route}`, {
      headers: { 'content-type': 'application/json', 'logto-app-id': SPA }, body: body && JSON.stringify(body),
    });
    await step('PUT', '', { interactionEvent: 'SignIn' });
    return { browser, step, check: (username, password) => step('POST', '/verification/password', { identifier: { type: 'username', value: username }, password }) };
  };
  // All the way; the browser with what it was given.
  place.signIn = async (username, password) => {
    const { browser, step, check } = await place.begin();
    const checked = await check(username, password);
    if (checked.status !== 200) throw new Error(`${username}: ${checked.status}`);
    await step('POST', '/identification', await checked.json());
    const submitted = await step('POST', '/submit');
    if (submitted.status !== 200) throw new Error(`${username}: ${submitted.status} ${await submitted.text()}`);
    return browser;
  };
  // mgPass's hosted page, as a browser without a session.
  place.atMgpass = async (fields) => {
    const query = new URLSearchParams({
      response_type: 'code', client_id: 'app_newsroom', redirect_uri: REDIRECT_URI, scope: 'openid', state: 's',
      code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256',
    });
    const answer = await fetch(`${sandbox.mgpass.url}/authorize?${query}`, { method: 'POST', body: new URLSearchParams(fields), redirect: 'manual' });
    await answer.arrayBuffer();
    return answer.status;
  };
  await allowCarrying(place);
  return place;
}

async function allowCarrying({ sandbox, created, origin }) {
  const probe = await created('probe');
  await sandbox.deploy({ PASSWORD_CARRY: 'on', ...PROBE_VARS, PROBE_USER: probe });
  const operator = async (route) => {
    const answer = await fetch(`${origin}/_proxy/${route}`, { method: 'POST', headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
    return answer.json();
  };
  await operator('carry/allow?by=Anna&reason=DPIA-7');
  await operator('carry/check');
  const { may_carry: mayCarry } = await operator('carry/confirm?by=Anna');
  if (!mayCarry) throw new Error('no password would be carried');
}
