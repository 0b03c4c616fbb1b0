// The whole sandbox in one process: the proxy and the mgPass stand-in on real
// workerd, the Logto stand-in on Node, all migrated. `npm run dev` runs it on
// fixed ports, tests on free ones.
//
//   const sandbox = await startSandbox({ persistTo, ports?, vars?, alg?, edition?, main?, onLog?, tickMs?, queueBatchSize?, wrapper?, logto?, mgpass?, runningLogto? });
//   sandbox.proxy.url, .logto.url, .mgpass.url     what clients talk to
//   sandbox.logto.control, .mgpass.control          faults and counters (backends/front.mjs)
//   await sandbox.flag('read_percent', '50')        KV as an operator writes it; null deletes
//   await sandbox.tick()                            one run of cron: it never fires by itself here
//   await sandbox.reload()                          code, configs and migrations as they are now; Logto goes on
//   await sandbox.deploy({ HANDOVER_SECRET: '...' }) a version with these variables besides, on fresh isolates; undefined takes one away
//                                                    {isMigrated: true}: no migration is applied, as after a crash
//   await sandbox.close()

import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { startLogto } from '../backends/logto/main.mjs';
import { migrateMgpass, startMgpassFront } from '../backends/mgpass/main.mjs';
import { freePorts } from './machine.mjs';
import { applyMigrations, startWorkers } from './workers.mjs';

const root = fileURLToPath(new URL('../../..', import.meta.url));

export const PORTS = { proxy: 8787, logto: 9001, logtoControl: 9101, mgpass: 9002, mgpassControl: 9102 };

export const SECRETS = {
  LOGTO_CLIENT_SECRET: 'sample-secret-m2m',
  MGPASS_CLIENT_SECRET: 'mgpass-proxy-secret',
  SUBJECT_KEY: 'a-key-for-log-lines',
  ADMIN_TOKEN: 'operator-of-the-sandbox',
};

/** An account of the operator's own that signs in at mgPass's page; `PROBE_USER` is its id. */
export const PROBE_VARS = {
  PROBE_EMAIL: 'probe@example.test',
  PROBE_PASSWORD: 'probe-password-of-the-sandbox',
  PROBE_CLIENT_ID: 'app_newsroom',
  PROBE_CLIENT_SECRET: 'mgpass-newsroom-secret',
  PROBE_REDIRECT_URI: 'http://127.0.0.1:5999/callback',
};

// Origins name each other before anyone listens, so ports are drawn first.
export async function drawPorts() {
  const names = Object.keys(PORTS);
  const ports = await freePorts(names.length);
  return Object.fromEntries(names.map((name, index) => [name, ports[index]]));
}

export async function startSandbox({
  persistTo,
  ports,
  vars = {},
  alg,
  edition = 'e3',
  main,
  onLog,
  tickMs,
  queueBatchSize,
  wrapper,
  logto: logtoOptions = {},
  mgpass: { main: mgpassMain, vars: mgpassVars = {} } = {},
  runningLogto,
}) {
  const on = ports ?? await drawPorts();
  const url = (port) => `http://127.0.0.1:${port}`;
  const proxyVars = {
    LOGTO_ORIGIN: url(on.logto),
    LOGTO_ISSUER: `${url(on.proxy)}/oidc`,
    MGPASS_ORIGIN: url(on.mgpass),
    MGPASS_ISSUER: url(on.mgpass),
    // Cron makes none of the checks unless a test asks for them.
    CHECK_EVERY_S: '0',
    ...SECRETS,
    ...vars,
  };
  const workers = await startWorkers({
    persistTo,
    onLog,
    workers: [
      {
        name: 'dual-write-proxy',
        config: path.join(root, 'wrangler.toml'),
        main,
        port: on.proxy,
        queueBatchSize,
        wrapper,
        vars: proxyVars,
      },
      {
        name: 'mgpass-standin',
        config: path.join(root, 'tests/harness/backends/mgpass/wrangler.toml'),
        port: 0,
        main: mgpassMain,
        entrypoints: { Control: 0 },
        vars: Object.assign(mgpassVars, { ISSUER: url(on.mgpass), EDITION: edition }),
      },
    ],
  });
  const migrate = async () => {
    await migrateMgpass(workers);
    await applyMigrations({
      sandbox: workers, databaseId: 'mgpass-local', directory: path.join(root, 'schema/mirror'), table: 'logto_mirror_migrations',
    });
    for (const name of ['proxy', 'metrics', 'rewards']) {
      await applyMigrations({ sandbox: workers, databaseId: `${name}-local`, directory: path.join(root, 'schema', name) });
    }
  };
  await migrate();
  const standin = workers.workers['mgpass-standin'];
  const mgpass = await startMgpassFront({
    workerUrl: standin.url,
    workerControlUrl: standin.entrypoints.Control.url,
    port: on.mgpass,
    controlPort: on.mgpassControl,
  });
  // One that outlives this sandbox, on the ports it was given: workerd crashes, Logto does not.
  const logto = runningLogto ?? await startLogto({
    port: on.logto, controlPort: on.logtoControl, endpoint: url(on.proxy), alg, ...logtoOptions,
  });
  const proxy = workers.workers['dual-write-proxy'];
  let FLAGS;
  const databases = {};
  const bind = async () => {
    ({ FLAGS } = await proxy.getBindings());
    for (const name of ['proxy', 'mgpass', 'metrics', 'rewards']) databases[name] = await workers.database(`${name}-local`);
  };
  await bind();
  const tick = () => workers.scheduled('dual-write-proxy', '* * * * *');
  const ticking = tickMs && setInterval(() => tick().catch(() => {}), tickMs);
  const reload = async ({ isMigrated = false } = {}) => {
    await workers.reload();
    if (!isMigrated) await migrate();
    await bind();
  };
  return {
    proxy,
    logto,
    mgpass,
    workers,
    tick,
    flag: (key, value) => (value === null ? FLAGS.delete(key) : FLAGS.put(key, value)),
    databases,
    reload,
    async deploy(changed, options) {
      Object.assign(proxyVars, changed);
      for (const [name, value] of Object.entries(proxyVars)) if (value === undefined) delete proxyVars[name];
      await reload(options);
    },
    async close() {
      clearInterval(ticking);
      if (logto !== runningLogto) await logto.close();
      await mgpass.close();
      await workers.dispose();
    },
  };
}

// A front's control port as functions.
export function controlOf({ control }) {
  const call = async (method, route, body) => {
    const answer = await fetch(control.url + route, {
      method,
      headers: body === undefined ? {} : { 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${route}: ${answer.status} ${text}`);
    return text && answer.headers.get('content-type')?.includes('json') && !text.includes('\n{') ? JSON.parse(text) : text;
  };
  return {
    call,
    counters: () => call('GET', '/counters'),
    reset: () => call('DELETE', '/counters'),
    faults: (rules) => call('PUT', '/faults', rules),
    off: () => call('POST', '/off'),
    on: () => call('POST', '/on'),
  };
}
