// What every act of the drill stands on: the sandbox with a closed origin, a cron that can
// be stopped, the operator's two commands as processes of their own, stores that can be
// taken away, and the table of what was measured.

import { execFile } from 'node:child_process';
import { createWriteStream, mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { scratch } from '../../harness/sandbox/scratch.mjs';
import { defaultSeed, machine } from '../../harness/backends/logto/seed.mjs';
import { machineToken, management, MANAGEMENT_API, pause, until } from '../../harness/sandbox/client.mjs';
import { controlOf, SECRETS, startSandbox } from '../../harness/sandbox/sandbox.mjs';
import { dwp as runDwp, root, say, startDwp } from '../import/support.mjs';

export { pause, say, until };

export const OLD_SECRET = 'what-the-origin-took-before';
export const NEW_SECRET = 'what-only-the-new-version-sends';

/** An application of the customer's; what the reverse mirror calls as; and whoever goes around the proxy. */
export const APP = { id: 'drillapp0000000000000', secret: 'drill-secret-app' };
export const BACK = { id: 'drillback000000000000', secret: 'drill-secret-back' };
export const PROXY = { id: 'sandboxm2m00000000000' };

// The announcement is the lease, Logto's deadline and how late it may commit: 12 s here.
const DRILL_VARS = {
  HANDOVER_LEASE_S: '3', LOGTO_DEADLINE_MS: '5000', HANDOVER_LATE_S: '4', HANDOVER_DEADLINE_S: '90',
  // The guard's minute is a second here, and its five minutes twenty.
  GUARD_WINDOW_S: '20', GUARD_MIN_READS: '20', GUARD_MIN_COMPARED: '10', GUARD_MAX_P95_PERCENT: '10000', GUARD_MAX_P95_MS: '5000', METRICS_FLUSH_MS: '500',
  // Two cores carry everything: a slow look-up must not count as mgPass's.
  ELIGIBILITY_DEADLINE_MS: '5000', MGPASS_DEADLINE_MS: '4000', COMPARISONS_PER_SECOND: '1000', DELETIONS_PER_HOUR: '10000',
  ORIGIN_SECRET: OLD_SECRET, REVERSE_CLIENT_ID: BACK.id, REVERSE_CLIENT_SECRET: BACK.secret,
};

/**
 * `name`: of its folder; `base`: in place of the variables of every drill, `vars`, `applications`: over and beside
 * them; `onEvent` hears each event of the Worker; the rest as `startSandbox` takes it.
 */
export async function openScene({ main, name = 'cutover', base = DRILL_VARS, vars = {}, applications = [], onEvent, cronEveryMs = 1_000, logto = {}, ...more }) {
  const { directory: persistTo } = scratch(name);
  const folder = path.join(root, '.sandbox', name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  // Every line of the Worker, for whoever looks into a miss.
  const log = createWriteStream(path.join(folder, 'worker.log'));
  const sandbox = await startSandbox({
    persistTo, main, vars: { ...base, ...vars }, queueBatchSize: 50, ...more,
    wrapper: fileURLToPath(new URL('../../harness/sandbox/around.mjs', import.meta.url)),
    logto: { ...logto, seed: { applications: [...defaultSeed.applications, machine(APP, 'app'), machine(BACK, 'back'), ...applications] } },
    onLog: (line) => {
      log.write(`${Date.now()} ${line}\n`);
      if (onEvent && line.startsWith('{"event"')) onEvent(JSON.parse(line));
      if (!line.startsWith('{"event"') && line.trim() !== '') console.error(`worker: ${line.slice(0, 300)}`);
    },
  });
  const scene = {
    sandbox, persistTo, folder,
    logto: controlOf(sandbox.logto),
    mgpass: controlOf(sandbox.mgpass),
    users: sandbox.logto.users,
    url: sandbox.proxy.url,
    cronRuns: true,
    /** Every request that changes something at Logto, from the beginning on. */
    atLogto: [],
    /** And whatever it was asked at all. */
    heardByLogto: [],
    rows: [],
  };
  sandbox.logto.front.onRequest((entry) => {
    scene.heardByLogto.push(entry);
    if (!['GET', 'HEAD', 'OPTIONS'].includes(entry.method)) scene.atLogto.push(entry);
  });
  let isOpen = true;
  const cron = (async () => {
    while (isOpen) {
      if (scene.cronRuns) await sandbox.tick().catch(() => {});
      await pause(cronEveryMs);
    }
  })();
  return Object.assign(scene, helpers(scene), {
    async close() {
      isOpen = false;
      await cron;
      await sandbox.close();
    },
  });
}

function helpers(scene) {
  const { sandbox, persistTo } = scene;
  const all = (store) => async (sql, ...values) => {
    const answer = await fetch(`${scene.url}/__drill`, { method: 'POST', body: JSON.stringify({ store, sql, values }) });
    if (!answer.ok) throw new Error(`${sql}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  const first = (store) => async (sql, ...values) => (await all(store)(sql, ...values))[0] ?? null;

  async function status() {
    const answer = await fetch(`${scene.url}/_proxy/status`, { headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
    return answer.json();
  }

  return {
    status,
    proxyRow: first('DB'), proxyRows: all('DB'), mgpassRow: first('MGPASS_DB'), mgpassRows: all('MGPASS_DB'),

    /** The built command; any status but those allowed ends the drill. */
    dwp: (line, options) => runDwp(scene.url, typeof line === 'string' ? line.split(' ') : line, options),
    startDwp: (line, options) => startDwp(scene.url, line.split(' '), options),

    /** As an operator does it, from another process; null deletes the key. */
    async wrangler(key, value) {
      const wrangler = path.join(root, 'node_modules/wrangler/bin/wrangler.js');
      const what = value === null ? ['delete', key] : ['put', key, value];
      await promisify(execFile)(process.execPath, [
        wrangler, 'kv', 'key', ...what, '--binding', 'FLAGS', '--local', '--persist-to', persistTo,
      ], { cwd: root });
    },

    /** With it until the proxy shows it. */
    async put(key, value, isSeen) {
      await this.wrangler(key, value);
      await until(`${key} ${value}`, async () => isSeen(await status()), { withinMs: 20_000, everyMs: 200 });
    },

    /** Stores that are down or late; none without an argument. Answers how often each of before was met. */
    async stores(rules = []) {
      const before = await (await fetch(`${scene.url}/__drill`)).json();
      await fetch(`${scene.url}/__drill`, { method: 'PUT', body: JSON.stringify(rules) });
      return before.map(({ hits }) => hits);
    },

    authority: () => first('DB')('SELECT holder, generation, term, since, wish FROM authority'),
    moves: () => all('DB')('SELECT * FROM authority_log ORDER BY id'),

    token: (client) => machineToken(`${scene.url}/oidc`, client, { resource: MANAGEMENT_API, scope: 'all' }),
    /** Around the proxy, as mgPass's own pages and consoles go. */
    async mgpassApi(method, route, body) {
      const { answer } = { answer: await fetch(`${sandbox.mgpass.url}/api${route}`, {
        method, headers: { authorization: `Bearer ${scene.mgpassToken}`, ...(body && { 'content-type': 'application/json' }) }, body: body && JSON.stringify(body),
      }) };
      const text = await answer.text();
      if (!answer.ok) throw new Error(`mgPass ${method} ${route}: ${answer.status} ${text}`);
      return text === '' ? undefined : JSON.parse(text);
    },
    api: (token) => management(scene.url, token),

    /** One line of the table. What was demanded and is not so fails the drill at its end. */
    expect(what, measured, demanded, isSo) {
      scene.rows.push({ what, measured: String(measured), demanded, isSo });
      say(`${isSo ? 'ok  ' : 'MISS'} ${what}: ${measured}${isSo ? '' : `; demanded: ${demanded}`}`);
    },
    heading: (text) => say(`--- ${text}`),

    printTable() {
      const width = Math.max(...scene.rows.map(({ what }) => what.length));
      const wide = Math.max(...scene.rows.map(({ measured }) => measured.length));
      console.log(`\n${'what'.padEnd(width)}  ${'measured'.padEnd(wide)}  demanded`);
      for (const { what, measured, demanded, isSo } of scene.rows) {
        console.log(`${what.padEnd(width)}  ${measured.padEnd(wide)}  ${demanded}${isSo ? '' : '   <-- MISSED'}`);
      }
      return scene.rows.filter(({ isSo }) => !isSo).length;
    },
  };
}

/** Of a list of numbers, Infinity among them. */
export function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}
export const inMs = (value) => (value === undefined ? '-' : Number.isFinite(value) ? `${Math.round(value)} ms` : 'infinite');
