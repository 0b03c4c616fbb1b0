// Where the book is typed: a folder with a wrangler.toml of its own, a shell, and before it
// the sandbox: the proxy and mgPass on workerd, Logto beside them. Nothing of the proxy is
// set up but by the book: no variable, no migration, no secret, no flag.

import { spawn } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { createWriteStream, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

import { unstable_readConfig as readConfig } from 'wrangler';

import { scratch } from '../../harness/sandbox/scratch.mjs';
import { startLogto } from '../../harness/backends/logto/main.mjs';
import { makeKeys } from '../../harness/backends/logto/keys.mjs';
import { defaultSeed, machine } from '../../harness/backends/logto/seed.mjs';
import { migrateMgpass, startMgpassFront } from '../../harness/backends/mgpass/main.mjs';
import { pause } from '../../harness/sandbox/client.mjs';
import { controlOf, drawPorts } from '../../harness/sandbox/sandbox.mjs';
import { applyMigrations, startWorkers } from '../../harness/sandbox/workers.mjs';
import { storesAmiss } from './commands.mjs';
import { APP, filled, OPERATOR, REVERSE, SECRETS, valuesOf, VARIABLES } from './values.mjs';

export const root = fileURLToPath(new URL('../../..', import.meta.url));

// What a small population on a laptop asks for: whatever is slow here is the machine, not mgPass.
export const DRILL_VARS = {
  GUARD_WINDOW_S: '10', GUARD_MIN_READS: '5', GUARD_MIN_COMPARED: '3', GUARD_MAX_P95_MS: '4294967295', GUARD_MAX_P95_PERCENT: '4294967295',
  METRICS_FLUSH_MS: '300', MGPASS_DEADLINE_MS: '15000', GUARD_MAX_FAILURE_BPS: '5000', ELIGIBILITY_DEADLINE_MS: '5000', COMPARISONS_PER_SECOND: '1000',
  // Some people of the sandbox have a username alone.
  CHECK_EVERY_S: '0', CHECK_MAX_WITHOUT_ROAD: '60',
};
/** From arming to cleanup: the announcement is 12 s in place of 18 minutes. */
export const HASTY_VARS = { HANDOVER_LEASE_S: '3', LOGTO_DEADLINE_MS: '5000', HANDOVER_LATE_S: '4' };
const RUNS_AT_MOST_MS = 300_000;

/** wrangler.toml as an operator has it, at another place: paths are whole, and what is built is there. */
function ownConfig(folder) {
  const config = readFileSync(path.join(root, 'wrangler.toml'), 'utf8')
    .replace(/^\[build\]\n(?:.+\n)*/m, '')
    .replace(/^main = "(.+)"/m, (_line, file) => `main = "${path.join(root, file)}"`)
    .replace(/^migrations_dir = "(.+)"/gm, (_line, directory) => `migrations_dir = "${path.join(root, directory)}"`);
  writeFileSync(path.join(folder, 'wrangler.toml'), config);
}

export async function openDesk({ name, main }) {
  const folder = path.join(root, '.sandbox/runbook', name);
  const state = path.join(folder, '.wrangler/state');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(path.join(folder, 'bin'), { recursive: true });
  mkdirSync(path.dirname(state));
  symlinkSync(scratch('runbook').directory, state);
  symlinkSync(path.join(root, 'target/debug/dwp'), path.join(folder, 'bin/dwp'));
  ownConfig(folder);
  const log = createWriteStream(path.join(folder, 'worker.log'));

  const on = await drawPorts();
  const url = (port) => `http://127.0.0.1:${port}`;
  const vars = {};
  const workers = await startWorkers({
    persistTo: state,
    onLog: (line) => log.write(`${Date.now()} ${line}\n`),
    workers: [
      { name: 'dual-write-proxy', config: path.join(folder, 'wrangler.toml'), main: main && path.join(root, main), port: on.proxy, vars },
      {
        name: 'mgpass-standin', config: path.join(root, 'tests/harness/backends/mgpass/wrangler.toml'), port: 0,
        entrypoints: { Control: 0 }, vars: { ISSUER: url(on.mgpass), EDITION: 'e3' },
      },
    ],
  });
  // What is there before the proxy: mgPass with its database, the source of points, Logto.
  await migrateMgpass(workers);
  await applyMigrations({ sandbox: workers, databaseId: 'rewards-local', directory: path.join(root, 'schema/rewards') });
  const standin = workers.workers['mgpass-standin'];
  const mgpass = await startMgpassFront({ workerUrl: standin.url, workerControlUrl: standin.entrypoints.Control.url, port: on.mgpass, controlPort: on.mgpassControl });
  const keys = await makeKeys('ES384');
  const logto = await startLogto({
    port: on.logto, controlPort: on.logtoControl, endpoint: url(on.proxy), keys,
    seed: { applications: [...defaultSeed.applications, machine(APP, 'app'), machine(REVERSE, 'back')] },
  });

  const desk = {
    folder, workers, logto, mgpass, keys,
    proxy: workers.workers['dual-write-proxy'],
    url: url(on.proxy),
    atLogto: controlOf(logto),
    atMgpass: controlOf(mgpass),
    values: valuesOf({ proxy: url(on.proxy), logto: url(on.logto), mgpass: url(on.mgpass) }),
    /** The shell's variables, as the book exports them. */
    shell: {},
    created: new Set(), secrets: new Set(), removed: new Set(),
    isDeployed: false,
    isStale: false,
    closers: [],
    filled: (words) => filled(words, desk.values),
    config: () => readConfig({ config: path.join(folder, 'wrangler.toml') }),
    run: (command) => run(desk, command),
    writeToml: (body) => writeToml(desk, body),
    besides: (what) => console.log(`      besides: ${what}`),
    async bind() {
      desk.databases = {};
      for (const id of ['proxy', 'mgpass', 'metrics', 'rewards']) desk.databases[id] = await workers.database(`${id}-local`);
    },
    rows: async (id, sql, ...bound) => (await desk.databases[id].prepare(sql).bind(...bound).all()).results,
    /** A version with these variables besides; undefined takes one away. */
    async deploy(changed) {
      Object.assign(vars, changed);
      for (const [key, value] of Object.entries(vars)) if (value === undefined) delete vars[key];
      await workers.reload();
      await desk.bind();
    },
    async status() {
      const answer = await fetch(`${desk.url}/_proxy/status`, { headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
      return answer.json();
    },
  };
  await desk.bind();
  let isOpen = true;
  // Cron fires once a second, from the first deployment on.
  const cron = (async () => {
    while (isOpen) {
      if (desk.isDeployed) await workers.scheduled('dual-write-proxy', '* * * * *').catch(() => {});
      await pause(1_000);
    }
  })();
  desk.acts = acts(desk, vars);
  desk.close = async () => {
    isOpen = false;
    await cron;
    for (const close of desk.closers.reverse()) await close();
    await logto.close();
    await mgpass.close();
    await workers.dispose();
  };
  return desk;
}

// Two processes on one local file: one finds it locked, as nobody does in production.
const IS_BUSY = /KV (PUT|DELETE) failed: 500|SQLITE_BUSY|database is locked/;
const BUSY_TRIES = 4;

/** {status, output}; a local store that was busy is asked again. */
async function run(desk, command) {
  for (let nth = 1; ; nth += 1) {
    const result = await runOnce(desk, command);
    if (result.status === 0 || nth === BUSY_TRIES || !IS_BUSY.test(result.output)) return result;
    desk.besides('the local store was busy with the other process: said again');
    await pause(2_000);
  }
}

/** Both streams in the order in which they came. */
async function runOnce(desk, command) {
  const child = spawn('bash', ['-c', `exec 2>&1; ${command}`], {
    cwd: desk.folder,
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: RUNS_AT_MOST_MS,
    env: {
      PATH: [path.join(desk.folder, 'bin'), path.join(root, 'node_modules/.bin'), process.env.PATH].join(':'),
      HOME: process.env.HOME, USER: OPERATOR, WRANGLER_SEND_METRICS: 'false', CI: 'true', ...desk.shell,
    },
  });
  const [output, status] = await Promise.all([text(child.stdout), new Promise((resolve, reject) => child.on('error', reject).on('close', resolve))]);
  return { status: status ?? 'ended after five minutes', output };
}

const done = (output = '') => ({ status: 0, output });

/** What stands for a command that has no local form; each answers as `run` does. */
function acts(desk, vars) {
  return {
    nothing: () => done(),
    export: ({ name, value }) => {
      desk.shell[name] = desk.filled(value);
      return done();
    },
    ask: ({ name }) => {
      desk.shell[name] = SECRETS[name];
      return SECRETS[name] ? done() : { status: 1, output: `no value for ${name} in values.mjs` };
    },
    create: ({ kind, name }) => {
      desk.created.add(`${kind} ${name}`);
      return done();
    },
    remove: ({ kind, name }) => {
      desk.removed.add(kind ? `${kind} ${name}` : 'worker');
      return done();
    },
    secret: ({ name }) => {
      if (!SECRETS[name]) return { status: 1, output: `no value for ${name} in values.mjs` };
      desk.secrets.add(name);
      vars[name] = SECRETS[name];
      desk.isStale = desk.isDeployed;
      return done();
    },
    async deploy() {
      const { missing, unbound } = storesAmiss(desk.created, desk.config());
      const faults = [...missing.map((store) => `wrangler.toml binds what nobody created: ${store}`), ...unbound.map((store) => `created, and bound by nothing: ${store}`)];
      if (faults.length > 0) return { status: 1, output: faults.join('\n') };
      const dry = await run(desk, 'npx --no wrangler deploy --dry-run --outdir dry');
      if (dry.status !== 0) return dry;
      desk.isDeployed = true;
      await desk.deploy(DRILL_VARS);
      return dry;
    },
    exportKeys: ({ file }) => {
      const list = desk.keys.map(({ kid, ...jwk }) => ({
        id: kid, value: createPrivateKey({ key: jwk, format: 'jwk' }).export({ type: 'pkcs8', format: 'pem' }), createdAt: Math.floor(Date.now() / 1_000) - 86_400,
      }));
      writeFileSync(path.join(desk.folder, file), `oidc.privateKeys=${JSON.stringify(list)}\n`, { mode: 0o600 });
      return done();
    },
  };
}

/** A block of the book for wrangler.toml: `routes` above the first table, all else is a variable. */
export function writeToml(desk, body) {
  const file = path.join(desk.folder, 'wrangler.toml');
  let config = readFileSync(file, 'utf8');
  for (const raw of body.split('\n')) {
    const line = raw.replace(/\s+#.*$/, '').trim();
    if (line === '') continue;
    const [, key, value] = /^(\w+) = (.+)$/.exec(line) ?? [];
    if (key === undefined) throw new Error(`no line for wrangler.toml: ${line}`);
    if (value === '"..."' && VARIABLES[key] === undefined) throw new Error(`no value for ${key} in values.mjs`);
    const wanted = key === 'routes' ? line : `${key} = ${value === '"..."' || /^"app_\.\.\."$/.test(value) ? JSON.stringify(VARIABLES[key]) : desk.filled(value)}`;
    const standing = new RegExp(`^${key} = .*$`, 'm');
    if (standing.test(config)) config = config.replace(standing, () => wanted);
    else if (key === 'routes') config = config.replace(/^\[/m, () => `${wanted}\n\n[`);
    else config = config.replace(/^\[vars\]\n/m, (table) => `${table}${wanted}\n`);
  }
  writeFileSync(file, config);
}
