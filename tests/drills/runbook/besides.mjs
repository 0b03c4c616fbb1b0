// What happens besides the book's commands: what other people do at their own consoles,
// people who use the applications, and time that passes, by moving rows' times. Each is
// printed where it happens.
//
// By title of the step: `before` and `after` all of it, `between` its blocks (by their
// number), `beforeBack` and `afterBack`.

import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';

import { startWebhooks } from '../../harness/backends/mgpass/webhooks.mjs';
import { machineToken, management, MANAGEMENT_API, mgpassToken, pause, signIn, until } from '../../harness/sandbox/client.mjs';
import { people as rewarded, seedRewards } from '../../harness/sandbox/rewards.mjs';
import { HASTY_VARS } from './desk.mjs';
import { APP, PROBE, SECRETS } from './values.mjs';

const PEOPLE = 20;
const OWN_PEOPLE = 3;
const READERS = 3;
const PASSWORD = 'a-long-Password-7';
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** With one token of Logto's for all of it: it lives for an hour. */
const application = async (desk) => {
  desk.token ??= await machineToken(`${desk.url}/oidc`, APP, { resource: MANAGEMENT_API, scope: 'all' });
  return management(desk.url, desk.token);
};

async function asked(desk, method, route, body) {
  const answer = await (await application(desk))(method, route, body);
  if (answer.status >= 300) throw new Error(`${method} ${route}: ${answer.status} ${answer.text}`);
  return answer.text === '' ? undefined : answer.json();
}

/** As an administrator of mgPass's does. */
async function atMgpass(desk, method, route, body) {
  const answer = await fetch(`${desk.mgpass.url}/api${route}`, {
    method, headers: { authorization: `Bearer ${await mgpassToken(desk.mgpass.url)}`, 'content-type': 'application/json' }, body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`mgPass ${method} ${route}: ${answer.status} ${await answer.text()}`);
}

/** Reads of everybody, all the time. */
function startReaders(desk) {
  if (desk.readers) return;
  const readers = desk.readers = { isOn: true, n: 0, bad: [] };
  const ids = [...desk.logto.users.values()].filter((user) => !user.isSuspended).map(({ id }) => id);
  const loops = Array.from({ length: READERS }, async (_, nth) => {
    let ask = await application(desk);
    for (let n = nth; readers.isOn; n += READERS) {
      const answer = await ask('GET', `/users/${ids[n % ids.length]}`).catch((error) => ({ status: 0, text: error.message }));
      readers.n += 1;
      // A new version cuts off what is under way here, as none does in production.
      if (answer.status !== 200 && answer.status !== 0) readers.bad.push(`${answer.status} ${answer.text.slice(0, 200)}`);
      await pause(150);
    }
  });
  desk.closers.push(async () => {
    readers.isOn = false;
    await Promise.all(loops);
  });
}

/** The two start addresses of an application, each with what its client library would ask for. */
async function startApplication(desk) {
  const server = http.createServer((request, response) => {
    const side = request.url.startsWith('/login/mgpass') ? 'mgpass' : 'logto';
    const { endpoint, client, host } = {
      logto: { endpoint: `${desk.url}/oidc/auth`, client: 'sandboxspa00000000000', host: 'localhost' },
      mgpass: { endpoint: `${desk.mgpass.url}/authorize`, client: 'app_newsroom', host: '127.0.0.1' },
    }[side];
    const query = new URLSearchParams({
      client_id: client, redirect_uri: `http://${host}:${server.address().port}/callback`, response_type: 'code', scope: 'openid profile email offline_access',
      state: 's', nonce: 'n', code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256',
    });
    response.writeHead(302, { location: `${endpoint}?${query}` }).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  desk.closers.push(() => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); }));
  const at = (route) => `http://127.0.0.1:${server.address().port}${route}`;
  return [{
    name: 'newsroom', group: 'main', owner: 'web team', ready: ['sign_in', 'sign_out'],
    logto: { client_id: 'sandboxspa00000000000', start: at('/login/logto') },
    mgpass: { client_id: 'app_newsroom', start: at('/login/mgpass') },
  }];
}

const person = (desk, username, register) => signIn({ origin: desk.url, issuer: `${desk.url}/oidc`, username, password: PASSWORD, register });

async function pasteKeys(desk) {
  await desk.atMgpass.call('DELETE', '/imported-keys');
  for (const pem of readFileSync(path.join(desk.folder, 'keys.pem'), 'utf8').match(/-----BEGIN[^]+?-----END [A-Z ]+-----/g)) {
    await desk.atMgpass.call('POST', '/imported-keys', { issuer: `${desk.url}/oidc`, pem });
  }
}

/** So many milliseconds pass since the hand-over, and since anybody needed anything. */
async function timePasses(desk, ms) {
  await desk.rows('proxy', 'UPDATE authority SET since = since - ?', ms);
  await desk.rows('proxy', 'UPDATE authority_log SET at = at - ?', ms);
  await desk.rows('proxy', 'UPDATE dependencies SET last_needed_at = last_needed_at - ?', ms);
}

/** The key `stage` has said so for two minutes. */
async function flagIsOld(desk, stage) {
  await until('cron has seen the flag', async () => (await desk.rows('proxy', 'SELECT kv_stage FROM authority'))[0].kv_stage === stage, { withinMs: 60_000 });
  await desk.rows('proxy', 'UPDATE authority SET kv_since = kv_since - 120000');
  desk.besides('two minutes pass');
}

/** Behind every call at Logto: nobody of the proxy may ask it anything. */
const asksOfLogto = async (desk) => {
  const { total, faulted, byRoute } = await desk.atLogto.counters();
  return { n: total + faulted, routes: Object.keys(byRoute) };
};

export const besides = {
  'Install the tools': {
    async before(desk) {
      await desk.atLogto.call('POST', '/users/bulk', { count: PEOPLE, seed: 'runbook' });
      for (const row of rewarded) desk.logto.users.create(row);
      await seedRewards(desk.databases.rewards);
      for (let n = 0; n < OWN_PEOPLE; n += 1) await atMgpass(desk, 'POST', '/users', { email: `own.${n}@mgpass.example`, password: 'Only-At-Mgpass-1', name: `Own ${n}` });
      desk.besides(`${desk.logto.users.size} people are at Logto, ${OWN_PEOPLE} at mgPass alone, and ${rewarded.length} of Logto's have points`);
    },
  },
  'Set Logto up': { before: (desk) => desk.besides('the Logto stand-in has both settings from its start') },
  "Close Logto's origin": {
    before(desk) {
      desk.logto.admitOnly([SECRETS.ORIGIN_SECRET]);
      desk.besides("Logto's gateway takes ORIGIN_SECRET alone");
    },
  },
  Webhooks: {
    after(desk) {
      desk.logto.webhooks.add({ url: `${desk.url}/_proxy/hooks/logto`, signingKey: SECRETS.LOGTO_WEBHOOK_SECRET });
      const hooks = startWebhooks({ database: { prepare: (sql) => desk.databases.mgpass.prepare(sql) }, url: `${desk.url}/_proxy/hooks/mgpass`, secret: SECRETS.MGPASS_WEBHOOK_SECRET });
      desk.closers.push(() => hooks.close());
      desk.besides('both webhooks are registered');
    },
  },
  'Mirror writes': {
    between: {
      0: async (desk) => {
        const { id } = await asked(desk, 'POST', '/users', { username: `test_user_${Date.now()}`, name: 'Test' });
        desk.besides(`an application creates the test user ${id}`);
        desk.testUser = id;
      },
    },
    async after(desk) {
      await until('the test user is at mgPass', async () => (await desk.rows('mgpass', 'SELECT id FROM users WHERE id = ?', desk.testUser)).length === 1, { withinMs: 30_000 });
    },
  },
  'Import points': {
    async before(desk) {
      for (const table of ['rewards_users', 'rewards_ledger']) await desk.rows('rewards', `DELETE FROM ${table} WHERE user_id = 'rewardsghost'`);
      desk.besides('the owner of the points has taken out those of a user whom nobody knows');
    },
  },
  'Keys of Logto': {
    between: {
      0: async (desk) => {
        await pasteKeys(desk);
        writeFileSync(path.join(desk.folder, 'token.txt'), await machineToken(`${desk.url}/oidc`, APP, { resource: MANAGEMENT_API, scope: 'all' }), { mode: 0o600 });
        desk.besides("keys.pem is pasted into mgPass's console; an application's fresh token is put into token.txt");
      },
    },
    async beforeBack(desk) {
      await desk.atMgpass.call('DELETE', '/imported-keys');
      desk.besides("the keys are deleted in mgPass's console");
    },
  },
  'The probe account': {
    async before(desk) {
      if (desk.logto.users.get(PROBE.user)) return;
      desk.logto.users.create({ id: PROBE.user, username: 'dwp_probe', name: 'Probe', primaryEmail: PROBE.email });
      await desk.run(`dwp replay --user ${PROBE.user}`);
      await until('the probe is mirrored', async () => (await desk.rows('mgpass', 'SELECT id FROM users WHERE id = ?', PROBE.user)).length === 1, { withinMs: 60_000 });
      await atMgpass(desk, 'PATCH', `/users/${PROBE.user}`, { password: SECRETS.PROBE_PASSWORD });
      desk.besides('a user of the operator\'s is at both sides, with a password of its own at mgPass');
    },
  },
  'Raise the share of reads': {
    async before(desk) {
      if (desk.readers) return;
      const { FLAGS } = await desk.proxy.getBindings();
      await FLAGS.put('compare_percent', '100');
      startReaders(desk);
      desk.besides(`${READERS} readers are at work from here on; each read is compared (compare_percent 100), since there are so few`);
    },
  },
  'List the applications': {
    async before(desk) {
      const list = await startApplication(desk);
      writeFileSync(path.join(desk.folder, 'applications.json'), JSON.stringify(list, null, 2));
      desk.besides('the developers of newsroom have two clients, two start addresses, and have said so: applications.json');
    },
  },
  'Look who signs in anew': {
    async before(desk) {
      await person(desk, 'ama_signs_in', true);
      const { id } = [...desk.logto.users.values()].find(({ username }) => username === 'ama_signs_in');
      await asked(desk, 'PATCH', `/users/${id}`, { primaryEmail: 'ama.signs.in@example.test' });
      await asked(desk, 'PUT', `/users/${id}/identities/google`, { userId: 'google-ama' });
      desk.besides('a person registers at Logto by newsroom, and has a social account');
      await until('they are mirrored', async () => (await desk.rows('mgpass', 'SELECT user_id FROM social_identities WHERE user_id = ?', id)).length === 1, { withinMs: 60_000 });
    },
  },
  'Carry passwords': {
    between: {
      0: (desk) => desk.besides("somebody looks into the probe's mailbox: nothing from mgPass"),
    },
    async after(desk) {
      const isCarried = async () => (await desk.rows('proxy', "SELECT count(*) AS n FROM passwords WHERE state = 'carried'"))[0].n > 0;
      const { tookMs } = await until('a password is carried', async () => (await isCarried()) || (await person(desk, 'ama_signs_in', false), isCarried()), { withinMs: 60_000, everyMs: 2_000 });
      desk.besides(`that person signs in at Logto; their password is carried after ${(tookMs / 1_000).toFixed(0)} s`);
    },
  },
  Arm: {
    async before(desk) {
      desk.logto.admitOnly([SECRETS.ORIGIN_SECRET, SECRETS.HANDOVER_SECRET]);
      await desk.deploy(HASTY_VARS);
      desk.besides("Logto's gateway takes the new secret, too; a drill's clocks: the announcement lasts 12 s in place of 18 minutes");
    },
    between: {
      1: (desk) => {
        desk.logto.admitOnly([SECRETS.HANDOVER_SECRET]);
        desk.besides("Logto's gateway takes the new secret alone");
      },
    },
  },
  'Hand over': {
    async after(desk) {
      for (let n = 0; n < 3; n += 1) await asked(desk, 'PATCH', `/users/${desk.testUser}`, { name: `after the hand-over ${n}` });
      desk.besides('an application changes a user three times, at mgPass now');
    },
    async afterBack(desk) {
      const { name } = desk.logto.users.get(desk.testUser);
      if (name !== 'after the hand-over 2') throw new Error(`after the return Logto lacks a write: ${name}`);
      desk.besides('Logto has what was written meanwhile');
      const listed = await desk.run('dwp hold list --json');
      for (const { id, subject = id, reason, detail } of JSON.parse(listed.output).users) {
        const released = await desk.run(`dwp hold release ${subject}`);
        if (released.status !== 0) throw new Error(`dwp hold release ${subject}: ${released.output}`);
        desk.besides(`the operator has looked at who is held (dwp hold list: ${subject}, ${reason} ${detail ?? ''}) and releases them: Logto's values are right`);
      }
    },
  },
  Watch: {
    async before(desk) {
      await desk.deploy(Object.fromEntries(Object.keys(HASTY_VARS).map((key) => [key, undefined])));
      desk.besides('the clocks are those of production again');
    },
  },
  Leave: {
    between: {
      0: (desk) => flagIsOld(desk, 'cleanup'),
    },
    // A value that is put back within two minutes is not believed before they are over.
    afterBack: (desk) => flagIsOld(desk, 'cutover'),
    async before(desk) {
      await timePasses(desk, 8 * DAY_MS);
      await desk.rows('proxy', "UPDATE cleanup_notes SET until = until - ? WHERE name = 'refresh_tokens'", 130 * DAY_MS);
      desk.besides('eight days pass since the hand-over, and Logto\'s refresh tokens end');
    },
    async after(desk) {
      // Whatever was asked before the move is through.
      await pause(1_000);
      await desk.atLogto.reset();
      await asked(desk, 'PATCH', `/users/${desk.testUser}`, { name: 'alone' });
      await pause(5_000);
      const { n, routes } = await asksOfLogto(desk);
      if (n > 0) throw new Error(`Logto was asked ${n} times after it was left alone: ${routes.join(', ')}`);
      desk.besides('an application writes and reads, cron runs: Logto is asked 0 times');
    },
  },
  'Wait until the route may go': {
    async before(desk) {
      const { KEYS } = await desk.proxy.getBindings();
      const stored = JSON.parse(await KEYS.get('logto'));
      const s = (4 * DAY_MS) / 1_000;
      await KEYS.put('logto', JSON.stringify({ ...stored, stopped_issuing_at: stored.stopped_issuing_at - s, sunset: stored.sunset - s }));
      desk.readers.isOn = false;
      // What the isolate has counted is written down first.
      await pause(3_000);
      await timePasses(desk, 4 * DAY_MS);
      await desk.deploy({});
      desk.besides('the applications have moved to mgPass\'s own API; four days pass');
    },
  },
  'Give the route to mgPass': { after: (desk) => desk.besides('the DNS record of the host names mgPass') },
  'Take the last route out': { after: (desk) => desk.besides('webhooks and clients are deleted at Logto and mgPass') },
};

/** Steps whose way back is not walked, and why. */
export const keeps = {
  'Open the gates': 'there is no waiver of one application by its name here: all were waived at once',
};
