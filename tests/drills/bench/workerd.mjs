// One Worker in a workerd of its own, from a plain configuration: no wrangler, no
// Miniflare, and so none of the Workers those put before and behind ours. D1, KV and
// the Queues are those of platform.mjs, by the `ports` of each binding. Without them
// KV is a Worker that answers a fixed set of keys; D1 and the Queues are bound and
// refuse every call: what a benchmark of that kind measures may not use them.

import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(import.meta.url);

const KV_WORKER = (values) => `const values = ${JSON.stringify(values)};
export default {
  async fetch(request) {
    if (request.method !== 'POST') return new Response(null, { status: 404 });
    const { keys } = await request.json();
    return Response.json(Object.fromEntries(keys.map((key) => [key, values[key] ?? null])));
  },
};
`;
// Queue batches and cron come to a Worker from inside only; this one hands them on.
const EVENTS_WORKER = `export default {
  async fetch(request, env) {
    if (new URL(request.url).pathname === '/scheduled') {
      return Response.json(await env.MAIN.scheduled({ scheduledTime: new Date(), cron: '* * * * *' }));
    }
    const messages = await request.json();
    const batch = messages.map((message) => ({ ...message, timestamp: new Date(message.timestamp) }));
    const { outcome, retryBatch, retryMessages } = await env.MAIN.queue('mirror', batch);
    return Response.json(outcome === 'ok' ? { retryBatch, retryMessages } : { retryBatch: { retry: true, delaySeconds: 1 } });
  },
};
`;
const REFUSING_WORKER = `export default { fetch: () => new Response('not here', { status: 500 }) };
`;

/** What wrangler.toml says of the Worker, with variables over its own. A .dev.vars plays no part. */
export function readConfig(file, vars) {
  const config = require('wrangler').unstable_readConfig({ config: file }, { hideWarnings: true });
  const names = (bindings) => (bindings ?? []).map(({ binding }) => binding);
  return {
    compatibilityDate: config.compatibility_date,
    compatibilityFlags: config.compatibility_flags,
    vars: { ...config.vars, ...vars },
    kv: names(config.kv_namespaces),
    d1: names(config.d1_databases),
    queues: names(config.queues?.producers),
  };
}

/** The modules of a build folder, the entry first. `before` is a module run ahead of it. */
export function readBuild(directory, before) {
  const files = readdirSync(directory).filter((name) => /\.(m?js|wasm)$/.test(name) && name !== 'index.js');
  const modules = ['index.js', ...files].map((name) => ({ name, from: path.join(directory, name) }));
  if (before === undefined) return modules;
  const entry = "import './before.js';\nexport { default } from './index.js';\nexport * from './index.js';\n";
  return [{ name: 'entry.js', text: entry }, { name: 'before.js', text: before }, ...modules];
}

/**
 * Starts it. `log` is what becomes of the Worker's own lines: `discard` sends them
 * to the null device; a function gets them in chunks, read from a pipe.
 */
export async function startWorkerd({ name, scratch, modules, config, flags = {}, ports = {}, entrypoints = [], port = 0, log = 'discard' }) {
  const directory = path.join(scratch, name);
  mkdirSync(directory, { recursive: true });
  for (const { name: file, from, text } of modules) {
    if (from !== undefined) cpSync(from, path.join(directory, file));
    else writeFileSync(path.join(directory, file), text);
  }
  writeFileSync(path.join(directory, 'kv.js'), KV_WORKER(flags));
  writeFileSync(path.join(directory, 'refuse.js'), REFUSING_WORKER);
  writeFileSync(path.join(directory, 'events.js'), EVENTS_WORKER);
  writeFileSync(path.join(directory, 'config.capnp'), capnp(modules, config, { ports, entrypoints, port }));

  const { default: binary } = require('workerd');
  const began = performance.now();
  const stdout = log === 'discard' ? 'ignore' : 'pipe';
  const child = spawn(binary, ['serve', 'config.capnp', '--control-fd=3', '--experimental'], {
    cwd: directory,
    stdio: ['ignore', stdout, 'pipe', 'pipe'],
  });
  if (stdout === 'pipe') child.stdout.on('data', log);
  let complaints = '';
  child.stderr.on('data', (chunk) => (complaints = `${complaints}${chunk}`.slice(-4000)));
  const sockets = ['http', 'events', ...entrypoints];
  const urls = await new Promise((resolve, reject) => {
    let events = '';
    child.stdio[3].on('data', (chunk) => {
      events += chunk;
      const listening = [...events.matchAll(/"event":"listen","socket":"(\w+)","port":(\d+)/g)];
      if (listening.length === sockets.length) {
        resolve(Object.fromEntries(listening.map(([, socket, port]) => [socket, `http://127.0.0.1:${port}`])));
      }
    });
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`workerd did not start ${name}: ${complaints}`)));
  });
  return {
    url: urls.http,
    /** From the process to its sockets: by then the Worker's modules have run. */
    start_ms: performance.now() - began,
    /** Queue batches and cron: POST /queue, POST /scheduled. */
    eventsUrl: urls.events,
    entrypoints: Object.fromEntries(entrypoints.map((entrypoint) => [entrypoint, urls[entrypoint]])),
    pid: child.pid,
    stop: () =>
      new Promise((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) return resolve();
        child.once('exit', resolve);
        child.kill('SIGKILL');
      }),
  };
}

/** CPU time of a process and its threads so far, or `NaN` where /proc does not tell. */
export function cpuTimeUs(pid) {
  try {
    const tasks = readdirSync(`/proc/${pid}/task`);
    const spent = tasks.map((task) => Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]));
    return spent.reduce((sum, ns) => sum + ns, 0) / 1000;
  } catch {
    return NaN;
  }
}

function capnp(modules, config, { ports, entrypoints, port }) {
  const module = ({ name }) => `(name = ${JSON.stringify(name)}, ${name.endsWith('.wasm') ? 'wasm' : 'esModule'} = embed ${JSON.stringify(name)})`;
  const text = ([name, value]) => `(name = ${JSON.stringify(name)}, text = ${JSON.stringify(String(value))})`;
  const { compatibilityDate, compatibilityFlags = [], vars = {}, kv = [], d1: databases = [], queues = [] } = config;
  const service = (name, otherwise) => (ports[name] === undefined ? otherwise : `at-${name}`);
  const d1 = (name) =>
    `(name = "${name}", wrapped = (moduleName = "cloudflare-internal:d1-api", innerBindings = [(name = "fetcher", service = "${service(name, 'refuse')}")]))`;
  const bindings = [
    ...Object.entries(vars).map(text),
    ...kv.map((name) => `(name = "${name}", kvNamespace = "${service(name, 'kv')}")`),
    ...databases.map(d1),
    ...queues.map((name) => `(name = "${name}", queue = "${service(name, 'refuse')}")`),
  ];
  const flags = (names) => `, compatibilityFlags = [${names.map((name) => `"${name}"`).join(', ')}]`;
  const worker = (names, extra = '') =>
    `(compatibilityDate = "${compatibilityDate}", modules = [${names.map(module).join(', ')}]${extra})`;
  const events = `, bindings = [(name = "MAIN", service = "main")]${flags(['service_binding_extra_handlers'])}`;
  const socket = (name, target, at = 0) => `(name = "${name}", address = "127.0.0.1:${at}", http = (), service = ${target})`;
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = ${worker(modules, `, bindings = [${bindings.join(', ')}], globalOutbound = "net"${flags(compatibilityFlags)}`)}),
    (name = "events", worker = ${worker([{ name: 'events.js' }], events)}),
    (name = "kv", worker = ${worker([{ name: 'kv.js' }])}),
    (name = "refuse", worker = ${worker([{ name: 'refuse.js' }])}),
    (name = "net", network = (allow = ["public", "private"])),
    ${Object.entries(ports).map(([name, port]) => `(name = "at-${name}", external = (address = "127.0.0.1:${port}", http = ()))`).join(',\n    ')}
  ],
  sockets = [
    ${[socket('http', '"main"', port), socket('events', '"events"'), ...entrypoints.map((name) => socket(name, `(name = "main", entrypoint = "${name}")`))].join(',\n    ')}
  ],
);
`;
}
