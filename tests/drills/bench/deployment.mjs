// A whole deployment for benchmarks, laid out as in production: the proxy alone in a
// workerd of its own, D1, KV and the Queue in another process (platform.mjs), mgPass
// in a third, Logto beside the benchmark. Cron runs only when told.

import { mkdirSync } from 'node:fs';
import path from 'node:path';

import { buildSync } from 'esbuild';

import { startLogto } from '../../harness/backends/logto/main.mjs';
import { startMgpassFront } from '../../harness/backends/mgpass/main.mjs';
import { freePorts } from '../../harness/sandbox/machine.mjs';
import { controlOf, SECRETS } from '../../harness/sandbox/sandbox.mjs';
import { LEAVE_INTENTS, until } from '../../harness/sandbox/client.mjs';
import { startPlatform } from './platform.mjs';
import { readBuild, readConfig, startWorkerd } from './workerd.mjs';

/** `log` hears the proxy's lines, in chunks; else nobody reads them. `logto`: options of its stand-in. */
export async function startDeployment({ root, build, scratch, name, vars = {}, log, logto: logtoOptions = {} }) {
  const running = [];
  const keep = (started) => {
    running.unshift(started);
    return started;
  };
  const close = async () => {
    for (const started of running) await (started.stop ?? started.close)();
  };
  try {
    const directory = path.join(scratch, `${name}-platform`);
    mkdirSync(directory, { recursive: true });
    const schema = (...parts) => path.join(root, 'schema', ...parts);
    const platform = keep(await startPlatform({
      scratch: directory,
      databases: {
        DB: [schema('proxy')],
        MGPASS_DB: [schema('mgpass'), path.join(root, 'tests/harness/backends/mgpass/migrations'), schema('mirror')],
        METRICS_DB: [schema('metrics')],
      },
      kv: ['FLAGS', 'KEYS'],
      queues: ['MIRROR_QUEUE'],
    }));
    const [proxyPort, mgpassPort] = await freePorts(2);
    const url = (port) => `http://127.0.0.1:${port}`;
    const standin = keep(await startWorkerd({
      name: `${name}-mgpass`,
      scratch,
      modules: [{ name: 'worker.js', text: bundle(path.join(root, 'tests/harness/backends/mgpass/worker.mjs')) }],
      config: readConfig(path.join(root, 'tests/harness/backends/mgpass/wrangler.toml'), { ISSUER: url(mgpassPort) }),
      ports: { DB: platform.ports.MGPASS_DB },
      entrypoints: ['Control'],
    }));
    const mgpass = keep(await startMgpassFront({
      workerUrl: standin.url, workerControlUrl: standin.entrypoints.Control, port: mgpassPort,
    }));
    const logto = keep(await startLogto({ endpoint: url(proxyPort), ...logtoOptions }));
    const proxy = keep(await startWorkerd({
      name: `${name}-proxy`,
      scratch,
      port: proxyPort,
      log,
      modules: readBuild(build),
      config: readConfig(path.join(root, 'wrangler.toml'), {
        LOGTO_ORIGIN: logto.url,
        LOGTO_ISSUER: `${url(proxyPort)}/oidc`,
        MGPASS_ORIGIN: mgpass.url,
        MGPASS_ISSUER: mgpass.url,
        ...SECRETS,
        ...vars,
      }),
      ports: platform.ports,
    }));
    await platform.deliverTo(proxy.eventsUrl);
    const deployment = {
      platform,
      proxy,
      logto,
      mgpass,
      /** KV as an operator writes it; an isolate sees it within five seconds. */
      flag: (key, value) => platform.put('FLAGS', key, value),
      async tick() {
        const answer = await fetch(`${proxy.eventsUrl}/scheduled`, { method: 'POST' });
        const { outcome } = await answer.json();
        if (outcome !== 'ok') throw new Error(`cron: ${outcome}`);
      },
      close,
    };
    return deployment;
  } catch (error) {
    await close();
    throw error;
  }
}

/** So many users at Logto, mirrored; their ids. */
export async function populate(deployment, count) {
  const { logto } = deployment;
  const before = new Set(logto.users.values().map(({ id }) => id));
  await controlOf(logto).call('POST', '/users/bulk', { count });
  const users = [...logto.users.values()].map(({ id }) => id).filter((id) => !before.has(id));
  await mirror(deployment, users);
  return users;
}

/** These users of Logto's, which nobody has mirrored yet. */
export async function mirror({ platform, proxy }, users) {
  await platform.query('DB', LEAVE_INTENTS, [JSON.stringify(users)]);
  for (let at = 0; at < users.length; at += 10) {
    const messages = users.slice(at, at + 10).map((subject) => ({
      id: crypto.randomUUID(), timestamp: Date.now(), attempts: 1, body: { kind: 'reconcile', subject },
    }));
    await fetch(`${proxy.eventsUrl}/queue`, { method: 'POST', body: JSON.stringify(messages) });
  }
  const mirrored = async () => (await platform.query('MGPASS_DB', 'SELECT count(*) AS n FROM logto_mirror'))[0].n;
  await until('everybody mirrored', async () => (await mirrored()) >= users.length, { withinMs: 60_000 });
}

function bundle(entry) {
  const { outputFiles } = buildSync({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    conditions: ['workerd', 'worker', 'browser'],
    external: ['cloudflare:*', 'node:*'],
    logLevel: 'error',
  });
  return outputFiles[0].text;
}
