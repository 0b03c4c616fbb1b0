// Between the built Worker and its bindings: the limits of the real platform, which the
// local runtime does not hold. It stands beside the build as its entry, counts what each
// invocation asks, and refuses as the platform does. For this drill alone.
//
// An invocation is one request with what follows it, one batch of a queue, or one run of
// cron. Each statement of a D1 batch counts as a query. Calls by `fetch` cannot be told
// apart by invocation, so each counts for all that are under way: too much rather than
// too little.
//
//   GET    /__limits                 {kinds: {name: {invocations, queries, subrequests, connections}}, refused: {code: n}, largest: {...}}
//   PUT    /__limits {queue_down}    while true, the queues take nothing

import worker from './index.js';

// Written out, and not taken from the Worker: what it believes is what is tested.
const MAX = {
  value: 2_000_000, sql: 100_000, parameters: 100, queries: 1_000, result: 50_000_000,
  subrequests: 10_000, connections: 6, messages: 100, sent: 256_000, message: 128_000,
};

const encoder = new TextEncoder();
const bytes = (text) => encoder.encode(text).length;

const seen = { kinds: {}, refused: {}, largest: { value: 0, sql: 0, parameters: 0, messages: 0, sent: 0, result: 0 } };
let isQueueDown = false;
const running = new Set();

function note(name, size) {
  seen.largest[name] = Math.max(seen.largest[name], size);
}

function refuse(code, message, cause) {
  seen.refused[code] = (seen.refused[code] ?? 0) + 1;
  throw new Error(message, cause && { cause: new Error(cause) });
}

const refuseD1 = (code, text) => refuse(code, `D1_ERROR: ${text}`, text);

class Invocation {
  queries = 0;
  subrequests = 0;
  connections = 0;
  most = 0;
  #waiting = [];

  constructor(kind) {
    this.kind = kind;
    running.add(this);
  }

  count(queries) {
    this.queries += queries;
    this.subrequests += 1;
    if (this.queries > MAX.queries) refuse('queries', 'Too many API requests by single Worker invocation.');
    if (this.subrequests > MAX.subrequests) refuse('subrequests', 'Too many subrequests by single Worker invocation.');
  }

  // The seventh waits until one of six has ended.
  async connected(call) {
    this.most = Math.max(this.most, this.connections + this.#waiting.length + 1);
    if (this.connections >= MAX.connections) await new Promise((go) => this.#waiting.push(go));
    this.connections += 1;
    try {
      return await call();
    } finally {
      this.connections -= 1;
      this.#waiting.shift()?.();
    }
  }

  end() {
    running.delete(this);
    const kind = seen.kinds[this.kind] ??= { invocations: 0, queries: 0, subrequests: 0, connections: 0 };
    kind.invocations += 1;
    kind.queries = Math.max(kind.queries, this.queries);
    kind.subrequests = Math.max(kind.subrequests, this.subrequests);
    kind.connections = Math.max(kind.connections, this.most);
  }
}

const fetched = globalThis.fetch;
globalThis.fetch = function (...args) {
  for (const invocation of running) invocation.count(0);
  return fetched.apply(this, args);
};

// The names are those by which worker-rs knows its bindings.
class D1PreparedStatement {
  constructor(sql, inner, values = []) {
    Object.assign(this, { sql, inner, values });
  }
  bind(...values) {
    return new D1PreparedStatement(this.sql, this.inner.bind(...values), values);
  }
}

class D1Database {
  constructor(inner, invocation) {
    Object.assign(this, { inner, invocation });
  }
  prepare(sql) {
    return new D1PreparedStatement(sql, this.inner.prepare(sql));
  }
  async batch(statements) {
    this.invocation.count(statements.length);
    for (const { sql, values } of statements) {
      note('sql', bytes(sql));
      note('parameters', values.length);
      if (bytes(sql) > MAX.sql) refuseD1('sql', 'statement too long: SQLITE_TOOBIG');
      if (values.length > MAX.parameters) refuseD1('parameters', 'too many SQL variables: SQLITE_ERROR');
      for (const value of values) {
        if (typeof value !== 'string') continue;
        note('value', bytes(value));
        if (bytes(value) > MAX.value) refuseD1('value', 'string or blob too big: SQLITE_TOOBIG');
      }
    }
    const results = await this.invocation.connected(() => this.inner.batch(statements.map(({ inner }) => inner)));
    for (const { results: rows } of results) {
      const size = rows.reduce((sum, row) => Object.values(row).reduce((all, value) => all + (typeof value === 'string' ? value.length : 8), sum), 0);
      note('result', size);
      if (size > MAX.result) refuseD1('result', 'query result too large');
    }
    return results;
  }
}

class WorkerQueue {
  constructor(inner, invocation) {
    Object.assign(this, { inner, invocation });
  }
  #check(bodies) {
    this.invocation.count(0);
    if (isQueueDown) throw new Error('Queue is down');
    const sizes = bodies.map((body) => bytes(JSON.stringify(body)) + 100);
    const sent = sizes.reduce((sum, size) => sum + size, 0);
    note('messages', bodies.length);
    note('sent', sent);
    if (bodies.length > MAX.messages || sent > MAX.sent || sizes.some((size) => size > MAX.message)) refuse('sent', 'Payload Too Large');
  }
  async send(body, options) {
    this.#check([body]);
    return this.invocation.connected(() => this.inner.send(body, options));
  }
  async sendBatch(messages, options) {
    const all = [...messages];
    this.#check(all.map(({ body }) => body));
    return this.invocation.connected(() => this.inner.sendBatch(all, options));
  }
}

class KvNamespace {
  constructor(inner, invocation) {
    for (const name of ['get', 'getWithMetadata', 'put', 'delete', 'list']) {
      this[name] = (...args) => {
        invocation.count(0);
        return invocation.connected(() => inner[name](...args));
      };
    }
  }
}

const WRAPPERS = { D1Database, WorkerQueue, KvNamespace };

function enforced(env, invocation) {
  const wrapped = Object.entries(env).map(([name, binding]) => {
    const Wrapper = WRAPPERS[binding?.constructor?.name];
    return [name, Wrapper ? new Wrapper(binding, invocation) : binding];
  });
  return Object.fromEntries(wrapped);
}

// What the invocation leaves to be waited for belongs to it.
async function invoke(kind, name, event, env, ctx) {
  const invocation = new Invocation(kind);
  const promises = [];
  const context = {
    waitUntil: (promise) => {
      promises.push(promise);
      ctx.waitUntil(promise);
    },
    passThroughOnException: () => ctx.passThroughOnException(),
  };
  const settled = async () => {
    for (let n = 0; n < promises.length; n += 1) await Promise.allSettled([promises[n]]);
    invocation.end();
  };
  try {
    return await worker[name](event, enforced(env, invocation), context);
  } finally {
    ctx.waitUntil(settled());
  }
}

async function control(request) {
  if (request.method === 'PUT') isQueueDown = (await request.json()).queue_down;
  return Response.json(seen);
}

export default {
  fetch: (request, env, ctx) =>
    (new URL(request.url).pathname === '/__limits' ? control(request) : invoke('request', 'fetch', request, env, ctx)),
  queue: (batch, env, ctx) => invoke(`queue ${batch.queue}`, 'queue', batch, env, ctx),
  scheduled: (controller, env, ctx) => invoke('cron', 'scheduled', controller, env, ctx),
};
