// Runs any number of Workers in ONE local workerd process, each on its own
// plain HTTP port with no dev proxy in between, sharing D1 (by database_id), KV
// and queues, on the same files under <persistTo>/v3 as `wrangler dev`.
//
// Usage:
//   const sandbox = await startWorkers({
//     persistTo: '.wrangler/state',        // what `wrangler --persist-to` takes; wrangler's own default
//     workers: [
//       { name: 'proxy', config: 'wrangler.toml', port: 8787, vars: { LOGTO_ORIGIN: 'http://127.0.0.1:3001' } },
//       { name: 'mgpass-standin', config: 'tests/harness/backends/mgpass/wrangler.toml', port: 0, entrypoints: { Control: 0 } },
//     ],
//     onLog: (line, { level }) => {},      // one call per line that a worker logged, raw text
//   });
//   await applyMigrations({ sandbox, databaseId: 'mgpass-local', directory: 'schema/mgpass' });
//   await fetch(sandbox.workers.proxy.url + '/healthz');
//   await sandbox.workers['mgpass-standin'].entrypoints.Control.url;   // a named entrypoint's own port
//   await sandbox.scheduled('proxy', '* * * * *');                     // cron never fires by itself here
//   const { FLAGS } = await sandbox.workers.proxy.getBindings();       // KV, D1, queues, vars of that worker
//   const db = await sandbox.database('mgpass-local');                 // a D1 binding by database_id
//   await sandbox.reload();                                            // the code and configs as they are now, on the same ports; get bindings anew
//   await sandbox.dispose();                                           // no process is left behind
//
// Port 0 picks a free port. `url` has no trailing slash. `main` (or
// `scriptPath`) replaces the entry named in the config; `build` commands of a
// config are not run. A built Rust worker (a .wasm file beside its entry) is
// loaded file by file, `wrapper` (a module that imports that entry) before it;
// anything else is bundled with esbuild. `logLevel` is
// Miniflare's own (none, error, warn, info, debug, verbose; default error).
// A relative path is relative to the current directory, a config's own paths
// to that config. Needs Node 22 (`npx node`, or an npm script).

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

import { buildSync } from 'esbuild';
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from 'miniflare';

// wrangler ships one CommonJS file that answers to require only.
const wrangler = createRequire(import.meta.url)('wrangler');

const HOST = '127.0.0.1';

export async function startWorkers({ workers, persistTo, logLevel = 'error', onLog }) {
  let given;
  const read = () => {
    given = workers.map(readWorker);
    return convertV4MiniflareOptions({
      host: HOST,
      // Miniflare's own entry socket; nobody calls it, each worker has its own.
      port: 0,
      cf: false,
      telemetry: { enabled: false },
      log: new Log(LogLevel[logLevel.toUpperCase()] ?? LogLevel.ERROR),
      resourcePersistencePath: path.join(path.resolve(persistTo), 'v3'),
      handleStructuredLogs: ({ message, level, timestamp }) => {
        if (onLog === undefined) return;
        for (const line of message.split('\n')) onLog(line, { level, timestamp });
      },
      workers: given.flatMap(({ options, externalWorkers }) => [options, ...externalWorkers]),
    });
  };
  const mf = new Miniflare(read());
  try {
    await mf.ready;
    const running = {};
    for (const { options, entrypoints } of given) {
      const urls = {};
      for (const entrypoint of entrypoints) {
        urls[entrypoint] = { url: origin(await mf.unsafeGetDirectURL(options.name, entrypoint)) };
      }
      running[options.name] = {
        url: origin(await mf.unsafeGetDirectURL(options.name)),
        entrypoints: urls,
        getBindings: () => mf.getBindings(options.name),
      };
    }
    return {
      mf,
      workers: running,
      database: (databaseId) => findDatabase(mf, given, databaseId),
      scheduled: (name, cron) => runScheduled(mf, given, name, cron),
      // A free port that was picked stays; requests and Queue messages under way are lost, as in a crash.
      reload: () => mf.setOptions(read()),
      dispose: () => mf.dispose(),
    };
  } catch (error) {
    await mf.dispose();
    throw error;
  }
}

// Applies the .sql files of a folder in wrangler's order through the running
// D1, and keeps the same book as `wrangler d1 migrations apply`, so that both
// may be used on one database in turn. Give `sandbox` and `databaseId`, or `db`
// (any D1 binding). Returns the names that were new.
export async function applyMigrations({ sandbox, databaseId, db, directory, table = 'd1_migrations' }) {
  const database = db ?? (await sandbox.database(databaseId));
  // Word for word wrangler's table; `table` is the config's `migrations_table`.
  await database
    .prepare(
      `CREATE TABLE IF NOT EXISTS "${table}"(
		id         INTEGER PRIMARY KEY AUTOINCREMENT,
		name       TEXT UNIQUE,
		applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL
)`,
    )
    .run();
  const { results } = await database.prepare(`SELECT name FROM ${table}`).all();
  const applied = new Set(results.map(({ name }) => name));
  const fresh = readdirSync(directory)
    .filter((name) => name.endsWith('.sql') && !applied.has(name))
    .sort(byLeadingNumber);
  for (const name of fresh) {
    const sql = readFileSync(path.join(directory, name), 'utf8');
    // One batch is one transaction: a migration is applied and noted, or neither.
    await database.batch([
      ...wrangler.unstable_splitSqlQuery(sql).map((statement) => database.prepare(statement)),
      database.prepare(`INSERT INTO ${table} (name) VALUES (?)`).bind(name),
    ]);
  }
  return fresh;
}

function readWorker({ name, config, port = 0, entrypoints = {}, vars = {}, queueBatchSize, wrapper, scriptPath, main = scriptPath }) {
  const read = wrangler.unstable_getMiniflareWorkerOptions(path.resolve(config));
  // The new Miniflare takes a list of modules instead of rules for finding them.
  const { modulesRules: _rules, ...workerOptions } = read.workerOptions;
  const entry = main === undefined ? read.main : path.resolve(main);
  if (entry === undefined) throw new TypeError(`${config} names no main, and none was given`);
  const sockets = Object.entries({ default: port, ...entrypoints });
  const options = {
    ...workerOptions,
    ...readModules(entry, read.define, wrapper),
    name,
    bindings: { ...workerOptions.bindings, ...vars },
    ...(queueBatchSize && { queueConsumers: withBatchSize(workerOptions.queueConsumers, queueBatchSize) }),
    unsafeDirectSockets: sockets.map(([entrypoint, socketPort]) => ({
      host: HOST,
      port: socketPort,
      entrypoint: entrypoint === 'default' ? undefined : entrypoint,
    })),
  };
  return { options, entrypoints: Object.keys(entrypoints), externalWorkers: read.externalWorkers };
}

// The config's own size suits production; a first load through the queue wants larger ones.
function withBatchSize(consumers, maxBatchSize) {
  return Object.fromEntries(Object.entries(consumers).map(([queue, consumer]) => [queue, { ...consumer, maxBatchSize }]));
}

function readModules(entry, define, wrapper) {
  const root = path.dirname(entry);
  const isBuilt = readdirSync(root).some((file) => file.endsWith('.wasm'));
  if (isBuilt) {
    // Loaded as if it lay beside the entry, which it imports.
    const around = wrapper && { type: 'ESModule', path: path.join(root, path.basename(wrapper)), contents: bundled(wrapper, { external: ['./index.js'] }) };
    return { modulesRoot: root, modules: [...(around ? [around] : []), ...collectModules(entry)] };
  }
  return { modulesRoot: root, modules: [{ type: 'ESModule', path: entry, contents: bundled(entry, { define }) }] };
}

function bundled(entry, { external = [], define } = {}) {
  const { outputFiles } = buildSync({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    conditions: ['workerd', 'worker', 'browser'],
    external: ['cloudflare:*', 'node:*', ...external],
    define,
    sourcemap: 'inline',
    logLevel: 'error',
  });
  return outputFiles[0].text;
}

// The entry and what it imports by relative path, in turn. Only reached files
// are loaded: a build folder may hold leftovers that do not parse as modules.
function collectModules(entry) {
  const modules = new Map();
  const queue = [entry];
  while (queue.length > 0) {
    const file = queue.shift();
    if (modules.has(file)) continue;
    if (file.endsWith('.wasm')) {
      modules.set(file, { type: 'CompiledWasm', path: file, contents: readFileSync(file) });
      continue;
    }
    const contents = readFileSync(file, 'utf8');
    modules.set(file, { type: 'ESModule', path: file, contents });
    for (const [, specifier] of contents.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*["'](\.{1,2}\/[^"'\n]+)["']/g)) {
      // What looks like an import in a comment names no file; a truly missing one workerd will name.
      const imported = path.resolve(path.dirname(file), specifier);
      if (existsSync(imported)) queue.push(imported);
    }
  }
  return [...modules.values()];
}

async function findDatabase(mf, given, databaseId) {
  for (const { options } of given) {
    for (const [binding, database] of Object.entries(options.d1Databases ?? {})) {
      const id = typeof database === 'string' ? database : database.id;
      if (id === databaseId) return mf.getD1Database(binding, options.name);
    }
  }
  throw new Error(`no worker of this sandbox binds the D1 database ${databaseId}`);
}

async function runScheduled(mf, given, name, cron) {
  const { options } = given.find((worker) => worker.options.name === name);
  const worker = await mf.getWorker(name);
  return worker.scheduled({ cron: cron ?? options.cronTriggers?.[0] ?? '* * * * *', scheduledTime: new Date() });
}

function origin(url) {
  return url.origin;
}

function byLeadingNumber(left, right) {
  return parseInt(left, 10) - parseInt(right, 10) || (left < right ? -1 : 1);
}
