// What a sign-in costs through the proxy. Two deployments (deployment.mjs) of the same build:
//
//   token endpoint   a refresh of Logto's through the proxy, beside the same made of Logto
//                    direct; and one of mgPass's, beside mgPass direct
//   password         Logto's page checks one: not carried over, carried over, and carried over
//                    while each call of the carry is answered LATE_MS late. A carry asks Logto
//                    twice and mgPass once, behind the answer: a client that waited for it would
//                    wait that much longer. Each person is new to it, since nobody is carried
//                    twice; after each there is a pause in which the carry comes to its end
//
// One client, one request at a time. Logto's stand-in runs in the client's own process, which
// answers the carry's calls while the client reads its own answer: that is in the figure of
// what is carried over, beside what any request costs that a rule claims.

import { inTurns, median, ratio, table } from './statistics.mjs';
import { Browser } from '../../harness/sandbox/browser.mjs';
import { M2M, MANAGEMENT_API, pause, REDIRECT_URI, until } from '../../harness/sandbox/client.mjs';
import { controlOf, PROBE_VARS, SECRETS } from '../../harness/sandbox/sandbox.mjs';
import { mirror, startDeployment } from './deployment.mjs';

const FULL = { rounds: 8, requests: 10, refreshes: 40 };
const QUICK = { rounds: 2, requests: 3, refreshes: 5 };
const PAUSE_MS = 400;
const LATE_MS = 300;
const PASSWORD = 'a-long-Password-7';
const PROBE = 'benchprobe01';
const NEWSROOM = { id: 'app_newsroom', secret: 'mgpass-newsroom-secret' };
const WEB = { id: 'sandboxweb00000000000', secret: 'sample-secret-web' };
const CARRY = {
  PASSWORD_CARRY: 'on', PASSWORD_CARRY_PER_MINUTE: '10000', ...PROBE_VARS, PROBE_USER: PROBE,
};

export async function run({ root, build, quick, scratch, print }) {
  const { rounds, requests, refreshes } = quick ? QUICK : FULL;
  const vars = { WALK: 'off', CHECK_EVERY_S: '0' };
  const off = await startDeployment({ root, build, scratch, name: 'sign-in', vars });
  let on;
  try {
    on = await startDeployment({ root, build, scratch, name: 'carrying', vars: { ...vars, ...CARRY } });
    // One round more, to warm up.
    const n = (rounds + 1) * requests;
    const [notCarried, carriedOver] = [await prepare(off, n), await prepare(on, 2 * n)];
    await allow(on);
    const tokens = await measureTokens(off, notCarried[0], { rounds, refreshes });
    const part = (people, round) => people.slice(round * requests, (round + 1) * requests);
    const passwords = await inTurns(rounds, [
      (round) => check(off, part(notCarried, round)),
      (round) => check(on, part(carriedOver, round)),
      (round) => carryingLate(on, requests, () => check(on, part(carriedOver.slice(n), round), PAUSE_MS + 3 * LATE_MS)),
    ]);
    const carried = async ({ platform }) => (await platform.query('DB', "SELECT count(*) AS n FROM passwords WHERE state = 'carried'"))[0].n;
    await until('all are carried', async () => (await carried(on)) >= 2 * n, { withinMs: 20_000 }).catch(() => {});
    const counts = { off: await carried(off), on: await carried(on), of: 2 * n };
    if (counts.off !== 0 || counts.on !== 2 * n) throw new Error(`carried: ${JSON.stringify(counts)}`);
    const of = ({ median: middle, min, max }, what) => `${middle.toFixed(2)} of ${what} (${min.toFixed(2)} to ${max.toFixed(2)})`;
    const at = (samples) => Math.round(median(samples));
    const [withoutCarry, withCarry, withLateCarry] = passwords;
    const figures = {
      tokens: tokens.map(({ name, samples: [direct, through] }) => ({ name, direct_us: at(direct), through_us: at(through), through_to_direct: ratio(through, direct) })),
      password: {
        off_us: at(withoutCarry), on_us: at(withCarry), late_us: at(withLateCarry), late_ms: LATE_MS,
        on_to_off: ratio(withCarry, withoutCarry), late_to_on: ratio(withLateCarry, withCarry), carried: counts,
      },
    };
    print(table([
      ['token endpoint, p50 us', 'direct', 'through the proxy', ''],
      ...figures.tokens.map(({ name, direct_us, through_us, through_to_direct }) => [name, direct_us, through_us, of(through_to_direct, 'direct')]),
    ]));
    const { off_us, on_us, late_us, on_to_off, late_to_on } = figures.password;
    print(`\n${table([
      ['a password checked at Logto through the proxy, p50 us', '', ''],
      ['not carried', off_us, ''],
      ['carried over', on_us, of(on_to_off, 'not carried')],
      [`carried over, each call of it ${LATE_MS} ms late`, late_us, of(late_to_on, 'carried over')],
    ])}`);
    print(`passwords carried: ${counts.on} of ${counts.of} where it is on, ${counts.off} where it is not`);
    print(`Medians of ${rounds} rounds of ${refreshes} refreshes and ${requests} passwords; a ratio is the median of the rounds' ratios, with the smallest and the largest.`);
    return { rounds, requests, refreshes, ...figures };
  } finally {
    await on?.close();
    await off.close();
  }
}

/** People with a password at Logto, mirrored without one. */
async function prepare(deployment, n) {
  await deployment.flag('stage', 'dual_write');
  await deployment.flag('applications', JSON.stringify([{
    name: 'newsroom', group: 'main', owner: 'bench', ready: ['sign_in'],
    logto: { client_id: WEB.id, start: 'http://localhost:5999/login/logto' }, mgpass: { client_id: NEWSROOM.id, start: 'http://localhost:5999/login/mgpass' },
  }]));
  await deployment.tick();
  await controlOf(deployment.mgpass).call('PATCH', '/settings', { users_limit_per_minute: 1_000_000 });
  const { users } = deployment.logto;
  const direct = await directly(deployment);
  users.create({ id: PROBE, username: 'probe', primaryEmail: 'probe@example.test' });
  const people = [];
  for (let number = 0; number < n; number += 1) {
    const username = `person_${number}`;
    const { id } = await direct('POST', '/users', { username, primaryEmail: `${username}@example.test`, password: PASSWORD });
    people.push({ id, username });
  }
  await mirror(deployment, [PROBE, ...people.map(({ id }) => id)]);
  return people;
}

/** Logto's Management API, past the proxy, which would carry these passwords. */
async function directly({ logto }) {
  const { access_token: token } = await form(`${logto.url}/oidc/token`, M2M, { grant_type: 'client_credentials', resource: MANAGEMENT_API, scope: 'all' });
  return async (method, path, body) => {
    const answer = await fetch(`${logto.url}/api${path}`, { method, headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
}

async function form(url, { id, secret }, fields) {
  const answer = await fetch(url, {
    method: 'POST', headers: { authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}` }, body: new URLSearchParams(fields),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${text}`);
  return JSON.parse(text);
}

async function allow({ proxy }) {
  for (const route of ['carry/allow?by=bench&reason=bench', 'carry/check', 'carry/confirm?by=bench']) {
    const answer = await fetch(`${proxy.url}/_proxy/${route}`, { method: 'POST', headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
    const body = await answer.json();
    if (!answer.ok || body.may_carry === false && route.startsWith('carry/confirm')) throw new Error(`${route}: ${answer.status} ${JSON.stringify(body)}`);
  }
}

async function step(browser, method, url, body) {
  const headers = { 'content-type': 'application/json', 'logto-app-id': WEB.id };
  const answer = await browser.ask(method, url, { headers, body: body && JSON.stringify(body) });
  if (answer.status >= 400) throw new Error(`${method} ${url}: ${answer.status} ${await answer.text()}`);
  return answer;
}

/** A browser at Logto's page, through the proxy. */
async function atThePage({ proxy }) {
  const browser = new Browser();
  const query = new URLSearchParams({
    client_id: WEB.id, redirect_uri: REDIRECT_URI, response_type: 'code', scope: 'openid offline_access', prompt: 'consent', state: 's',
    code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256',
  });
  await browser.follow(`${proxy.url}/oidc/auth?${query}`, (url) => url.includes('/sign-in?'));
  await step(browser, 'PUT', `${proxy.url}/api/experience`, { interactionEvent: 'SignIn' });
  return browser;
}

/** What a carry asks, and nobody else here: the check at Logto's Management API, and mgPass's users. */
async function carryingLate({ logto, mgpass }, nPasswords, work) {
  const controls = [controlOf(logto), controlOf(mgpass)];
  const most = 1_000_000;
  for (const control of controls) await control.faults([{ match: { path: '^/api/users' }, latency_ms: LATE_MS, times: most }]);
  try {
    return await work();
  } finally {
    let nLate = 0;
    for (const control of controls) {
      const [{ times }] = await control.call('GET', '/faults');
      nLate += most - times;
      await control.faults([]);
    }
    // Else nothing was late, and the figure would say nothing.
    if (nLate < 3 * nPasswords) throw new Error(`of ${nPasswords} carries ${nLate} calls were late`);
  }
}

/** Each of them enters their password; the median of what that took, in microseconds. */
async function check(deployment, people, pauseMs = PAUSE_MS) {
  const times = [];
  for (const { username } of people) {
    const browser = await atThePage(deployment);
    const body = { identifier: { type: 'username', value: username }, password: PASSWORD };
    const began = performance.now();
    const answer = await step(browser, 'POST', `${deployment.proxy.url}/api/experience/verification/password`, body);
    await answer.arrayBuffer();
    times.push((performance.now() - began) * 1_000);
    await pause(pauseMs);
  }
  return median(times);
}

async function signInAtLogto(deployment, { username }) {
  const { proxy } = deployment;
  const browser = await atThePage(deployment);
  const verified = await step(browser, 'POST', `${proxy.url}/api/experience/verification/password`, { identifier: { type: 'username', value: username }, password: PASSWORD });
  await step(browser, 'POST', `${proxy.url}/api/experience/identification`, await verified.json());
  const { redirectTo } = await (await step(browser, 'POST', `${proxy.url}/api/experience/submit`)).json();
  const { url } = await browser.follow(redirectTo, (to) => to.startsWith(REDIRECT_URI));
  return form(`${proxy.url}/oidc/token`, WEB, {
    grant_type: 'authorization_code', code: new URL(url).searchParams.get('code'), redirect_uri: REDIRECT_URI, code_verifier: 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk',
  });
}

async function measureTokens(deployment, person, { rounds, refreshes }) {
  const { proxy, logto, mgpass } = deployment;
  const { refresh_token: ofLogto } = await signInAtLogto(deployment, person);
  let { refresh_token: ofMgpass } = await controlOf(mgpass).call('POST', '/tokens', { user_id: 'usr_k3v9d2', client_id: NEWSROOM.id, scope: 'openid offline_access' });
  const atLogto = (url) => () => form(`${url}/oidc/token`, WEB, { grant_type: 'refresh_token', refresh_token: ofLogto });
  // mgPass gives another each time.
  const atMgpass = (url) => async () => { ({ refresh_token: ofMgpass } = await form(url, NEWSROOM, { grant_type: 'refresh_token', refresh_token: ofMgpass })); };
  const kinds = [
    { name: "Logto's, a refresh", cases: [atLogto(logto.url), atLogto(proxy.url)] },
    { name: "mgPass's, a refresh", cases: [atMgpass(`${mgpass.url}/token`), atMgpass(`${proxy.url}/oidc/token`)] },
  ];
  const measured = [];
  for (const { name, cases } of kinds) measured.push({ name, samples: await inTurns(rounds, cases.map((one) => () => timed(refreshes, one))) });
  return measured;
}

async function timed(requests, one) {
  const times = [];
  for (let number = 0; number < requests; number += 1) {
    const began = performance.now();
    await one();
    times.push((performance.now() - began) * 1_000);
  }
  return median(times);
}
