// The evidence before a hand-over: six checks, each made red by breaking what it watches,
// seen, mended; then all green.

import assert from 'node:assert/strict';

import { pause } from '../../harness/sandbox/client.mjs';
import { startWebhooks } from '../../harness/backends/mgpass/webhooks.mjs';
import { EVIDENCE, read, say } from './desk.mjs';

const { PROBE_USER, PROBE_EMAIL, PROBE_PASSWORD, MGPASS_WEBHOOK_SECRET, LOGTO_WEBHOOK_SECRET } = EVIDENCE;

export const checklist = {
  title: 'The checklist: red for six reasons, one after the other, then green',
  async run(desk) {
    // Nothing was looked at yet, and that is not green.
    read(await desk.dwp(['checklist'], 1), /sign_in +NOT PROBED.*/, /It was never run\..*/);
    await prepare(desk);
    await desk.dwp(['report', '--run']);
    read(await desk.dwp(['webhooks', 'test']), /logto +User\.Data\.Updated +heard/, /mgpass +user\.login\.success +heard/);
    await green(desk);

    await red(desk, 'sign_in', /could not sign in at mgPass: refused/, {
      breaks: () => setPassword(desk, 'somebody has changed it'),
      mends: () => setPassword(desk, PROBE_PASSWORD),
    });
    await red(desk, 'tokens', /mgPass says that a fresh token of Logto's is not active/, {
      breaks: () => desk.mgpass.call('DELETE', '/imported-keys'),
      mends: () => importAtMgpass(desk),
    });
    const { mgpass } = desk.sandbox.databases;
    const points = (change) => mgpass.prepare(`UPDATE user_rewards SET total_points = total_points ${change} WHERE user_id = 'rewardsama01'`).run();
    await red(desk, 'points', /1 user's points differ/, {
      breaks: async () => { await points('+ 7'); await desk.dwp(['report', '--run'], 1); },
      mends: async () => { await points('- 7'); await desk.dwp(['report', '--run']); },
    });
    await red(desk, 'webhooks', /mgPass is silent/, {
      breaks: async () => {
        desk.hooks.isSilent = true;
        read(await desk.dwp(['webhooks', 'test'], 1), /mgpass +user\.login\.success +not heard/, /mgPass is silent.*/);
      },
      mends: async () => { desk.hooks.isSilent = false; await desk.dwp(['webhooks', 'test']); },
    });
    await red(desk, 'console', /in mgPass's rows and not shown/, {
      breaks: () => desk.mgpass.faults([{ match: { path: '^/api/users/[^/?]+$' }, status: 404, body: { error: 'invalid_request' } }]),
      mends: () => desk.mgpass.faults([]),
    });
    // Renamed, since what is deleted cannot be brought back.
    await red(desk, 'audit', /missing in mgPass's audit log/, {
      breaks: () => mgpass.prepare("UPDATE audit_logs SET id = 'gone_' || id WHERE id LIKE 'aud_lm_%'").run(),
      mends: () => mgpass.prepare("UPDATE audit_logs SET id = substr(id, 6) WHERE id LIKE 'gone_%'").run(),
    });
    await green(desk);
    const shown = (await desk.dwp(['checklist', '--json'])).json();
    say(`  ${shown.checks.length} checks green; ${shown.checks.find(({ name }) => name === 'audit').figures.expected} entries expected in the audit log and found`);
    assert.deepEqual(shown.not_green, []);
  },
};

/** An account of the operator's at both sides, webhooks registered, keys carried over twice. */
async function prepare(desk) {
  desk.sandbox.logto.users.create({ id: PROBE_USER, username: 'dwp_probe', name: 'Probe', primaryEmail: PROBE_EMAIL });
  await desk.dwp(['replay', '--user', PROBE_USER]);
  const { mgpass } = desk.sandbox.databases;
  await desk.until('the probe is mirrored', () => mgpass.prepare('SELECT id FROM users WHERE id = ?').bind(PROBE_USER).first('id'));
  await setPassword(desk, PROBE_PASSWORD);
  desk.sandbox.logto.webhooks.add({ url: `${desk.sandbox.proxy.url}/_proxy/hooks/logto`, signingKey: LOGTO_WEBHOOK_SECRET });
  desk.hooks = startWebhooks({ database: mgpass, url: `${desk.sandbox.proxy.url}/_proxy/hooks/mgpass`, secret: MGPASS_WEBHOOK_SECRET });
  await importAtMgpass(desk);
  const value = {
    issuer: `${desk.sandbox.proxy.url}/oidc`, stopped_issuing_at: null, max_lifetime_s: 3_600,
    sunset: Math.floor(Date.now() / 1_000) + 90 * 86_400, keys: await published(desk),
  };
  await desk.wrangler(['kv', 'key', 'put', 'logto', JSON.stringify(value), '--binding', 'KEYS']);
  // An isolate looks there once a minute.
  await desk.until('the imported keys are seen', async () => {
    await desk.ask('GET', `/users/${PROBE_USER}`);
    const answer = await desk.status();
    return answer.keys?.imported !== null;
  }, 90_000);
}

const published = async (desk) => (await (await fetch(`${desk.sandbox.logto.url}/oidc/jwks`)).json()).keys;

async function importAtMgpass(desk) {
  for (const jwk of await published(desk)) {
    await desk.mgpass.call('POST', '/imported-keys', { issuer: `${desk.sandbox.proxy.url}/oidc`, jwk });
  }
}

/** As an administrator of mgPass's does. */
async function setPassword(desk, password) {
  const { access_token: token } = await desk.mgpass.call('POST', '/tokens', { client_id: 'app_proxy', scope: 'mgpass:admin' });
  const answer = await fetch(`${desk.sandbox.mgpass.url}/api/users/${PROBE_USER}`, {
    method: 'PATCH',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ password }),
  });
  assert.equal(answer.status, 200, await answer.text());
}

async function red(desk, name, why, { breaks, mends }) {
  await breaks();
  const found = await desk.dwp(['checklist', '--run'], 1);
  read(found, new RegExp(`^${name} +RED.*`, 'm'), why, /To do: .*/);
  assert.equal(found.stdout.match(/^\w+ +RED /gm).length, 1, found.stdout);
  await mends();
}

async function green(desk) {
  for (let n = 0; ; n += 1) {
    // A write of a moment ago may still be on its way.
    const { stdout, stderr } = await desk.dwp(['checklist', '--run'], n < 5 ? undefined : 0);
    if (stdout.match(/^\w+ +GREEN /gm)?.length === 6) return read({ stdout, stderr }, /sign_in +GREEN.*/, /audit +GREEN.*/);
    await pause(2_000);
  }
}

export const closeChecklist = (desk) => desk.hooks?.close();
