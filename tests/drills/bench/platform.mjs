// The platform's services beside the proxy, in a process of their own: D1, KV and a
// Queue, spoken to by workerd's own D1, KV and Queue bindings over HTTP.
//
// Why not the local runtime's: it runs D1 and the Queue on the very thread of the
// Worker that calls them, so that any query holds up every answer. At Cloudflare
// they are elsewhere, and so they are here. Each has a port of its own, and each can
// be made slow or taken down while everything runs:
//
//   {service_ms}   D1 only: each batch takes so long, one after the other, as D1 works
//   {latency_ms}   each call waits first, side by side
//   {down: true}   each call's connection is broken
//
// D1 is SQLite with one writer; a batch is one transaction. The Queue delivers at
// least once, up to ten messages at a time and four batches side by side.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const MAX_BATCH_SIZE = 10;
const MAX_CONCURRENCY = 4;

/**
 * Starts it. `databases` is {binding: [directories of migrations]}.
 * `ports` is {binding: port} of every service.
 */
export async function startPlatform({ scratch, databases, kv, queues }) {
  // SQLite in Node says of itself that it is experimental; nothing else is silenced.
  const child = fork(fileURLToPath(import.meta.url), ['--run'], { execArgv: ['--disable-warning=ExperimentalWarning'] });
  const died = once(child, 'exit').then(() => {
    throw new Error("the platform's process ended");
  });
  died.catch(() => {});
  let last = 0;
  const waiting = new Map();
  child.on('message', ({ id, result, fault }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (fault) reject(new Error(fault));
    else resolve(result);
  });
  const ask = (order, argument) => {
    last += 1;
    const answered = new Promise((resolve, reject) => waiting.set(last, { resolve, reject }));
    child.send({ id: last, order, argument });
    return Promise.race([answered, died]);
  };
  const ports = await ask('start', { scratch, databases, kv, queues });
  return {
    ports,
    /** One fault per service, `undefined` for none. */
    fault: (binding, fault) => ask('fault', { binding, fault }),
    /** Where the Queue delivers: the URL of the Worker that hands batches on. */
    deliverTo: (url) => ask('deliverTo', url),
    put: (binding, key, value) => ask('put', { binding, key, value }),
    /** Rows of one statement, past every fault. */
    query: (binding, sql, params = []) => ask('query', { binding, sql, params }),
    /** {binding: calls so far} */
    counters: () => ask('counters'),
    stop: () => child.kill(),
  };
}

function run() {
  const faults = {};
  const counters = {};
  const opened = {};
  const stores = {};
  const queue = { waiting: [], running: 0, url: undefined };

  const orders = {
    async start({ scratch, databases, kv, queues }) {
      const ports = {};
      for (const [binding, directories] of Object.entries(databases)) {
        opened[binding] = await openDatabase(path.join(scratch, `${binding}.sqlite`), directories);
        ports[binding] = await listen(binding, d1(binding));
      }
      for (const binding of kv) {
        stores[binding] = new Map();
        ports[binding] = await listen(binding, (request) => answerKv(stores[binding], request));
      }
      for (const binding of queues) ports[binding] = await listen(binding, take);
      return ports;
    },
    fault: ({ binding, fault }) => void (faults[binding] = fault),
    deliverTo: (url) => void (queue.url = url),
    put: ({ binding, key, value }) => void (value === null ? stores[binding].delete(key) : stores[binding].set(key, value)),
    query: ({ binding, sql, params }) => opened[binding].prepare(sql).all(...params),
    counters: () => ({ ...counters }),
  };

  function listen(binding, answer) {
    counters[binding] = 0;
    const server = http.createServer(async (request, response) => {
      counters[binding] += 1;
      const { latency_ms, down } = faults[binding] ?? {};
      if (down) return request.socket.destroy();
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      if (latency_ms) await wait(latency_ms);
      const [status, body] = await answer({ request, url: new URL(request.url, 'http://platform'), body: Buffer.concat(chunks) });
      response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
      response.end(body);
    });
    server.keepAliveTimeout = 60_000;
    return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));
  }

  // One after the other, as one D1 works.
  function d1(binding) {
    let free = Promise.resolve();
    return ({ url, body }) => {
      const format = url.searchParams.get('resultsFormat');
      const answered = free.then(async () => {
        const { service_ms } = faults[binding] ?? {};
        if (service_ms) await wait(service_ms);
        return [200, JSON.stringify(runBatch(opened[binding], JSON.parse(body), format))];
      });
      free = answered.catch(() => {});
      return answered;
    };
  }

  function take({ request, url, body }) {
    if (url.pathname !== '/message') return [404, '{}'];
    const delay_s = Number(request.headers['x-msg-delay-secs'] ?? 0);
    const message = { id: crypto.randomUUID(), timestamp: Date.now(), body: JSON.parse(body), attempts: 0 };
    setTimeout(enqueue, delay_s * 1000, message);
    // The binding reads this, and rejects an answer without it.
    const metrics = { backlogCount: queue.waiting.length, backlogBytes: 0, oldestMessageTimestamp: 0 };
    return [200, JSON.stringify({ metadata: { metrics } })];
  }

  function enqueue(message) {
    queue.waiting.push(message);
    dispatch();
  }

  async function dispatch() {
    if (queue.url === undefined || queue.running >= MAX_CONCURRENCY || queue.waiting.length === 0) return;
    queue.running += 1;
    // What came within the same turn goes along.
    await wait(0);
    const messages = queue.waiting.splice(0, MAX_BATCH_SIZE).map((message) => ({ ...message, attempts: message.attempts + 1 }));
    dispatch();
    for (const { message, delay_s } of await deliver(messages)) setTimeout(enqueue, delay_s * 1000, message);
    queue.running -= 1;
    dispatch();
  }

  // Those to be delivered again.
  async function deliver(messages) {
    if (messages.length === 0) return [];
    try {
      const answer = await fetch(`${queue.url}/queue`, { method: 'POST', body: JSON.stringify(messages) });
      const { retryBatch, retryMessages } = await answer.json();
      if (retryBatch.retry) return messages.map((message) => ({ message, delay_s: retryBatch.delaySeconds ?? 0 }));
      return retryMessages.map(({ msgId, delaySeconds }) => ({
        message: messages.find(({ id }) => id === msgId),
        delay_s: delaySeconds ?? 0,
      }));
    } catch {
      return messages.map((message) => ({ message, delay_s: 1 }));
    }
  }

  process.on('message', async ({ id, order, argument }) => {
    try {
      process.send({ id, result: await orders[order](argument) });
    } catch (error) {
      process.send({ id, fault: error.message });
    }
  });
  process.on('disconnect', () => process.exit());
}

async function openDatabase(file, directories) {
  // Here, and not above: loading it warns, and the parent process has no use for it.
  const { DatabaseSync } = await import('node:sqlite');
  const database = new DatabaseSync(file);
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON');
  for (const directory of directories) {
    for (const name of readdirSync(directory).filter((each) => each.endsWith('.sql')).sort()) {
      database.exec(readFileSync(path.join(directory, name), 'utf8'));
    }
  }
  return database;
}

// Kept: preparing costs more than running.
const prepared = new WeakMap();

function prepare(database, sql) {
  if (!prepared.has(database)) prepared.set(database, new Map());
  const statements = prepared.get(database);
  if (!statements.has(sql)) {
    const statement = database.prepare(sql);
    statement.setReturnArrays(true);
    statements.set(sql, statement);
  }
  return statements.get(sql);
}

function runBatch(database, queries, format) {
  const batch = Array.isArray(queries) ? queries : [queries];
  database.exec('BEGIN IMMEDIATE');
  try {
    const results = batch.map(({ sql, params }) => {
      const statement = prepare(database, sql);
      const rows = statement.all(...(params ?? []));
      const n = /^\s*SELECT/i.test(sql) ? 0 : prepare(database, 'SELECT changes()').all()[0][0];
      const columns = statement.columns().map(({ name }) => name);
      return {
        success: true,
        results: format === 'ROWS_AND_COLUMNS' ? { columns, rows } : rows.map((row) => Object.fromEntries(columns.map((name, at) => [name, row[at]]))),
        meta: { served_by: 'bench', duration: 0, changes: n, last_row_id: 0, changed_db: n > 0, size_after: 0, rows_read: 0, rows_written: 0 },
      };
    });
    database.exec('COMMIT');
    return Array.isArray(queries) ? results : results[0];
  } catch (error) {
    database.exec('ROLLBACK');
    return { success: false, error: `${error.message}: SQLITE_ERROR` };
  }
}

function answerKv(values, { request, url, body }) {
  if (request.method === 'POST') {
    const { keys } = JSON.parse(body);
    return [200, JSON.stringify(Object.fromEntries(keys.map((key) => [key, values.get(key) ?? null])))];
  }
  const key = decodeURIComponent(url.pathname.slice(1));
  if (request.method === 'PUT') {
    values.set(key, body.toString());
    return [200, ''];
  }
  return values.has(key) ? [200, values.get(key)] : [404, ''];
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

if (process.argv[2] === '--run') run();
