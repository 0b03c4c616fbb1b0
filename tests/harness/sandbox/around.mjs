// Between the built Worker and its stores, for drills: what a drill says is down, late or
// stale, and a clock that it moves. It stands beside the build as its entry (`wrapper`).
//
//   PUT /__drill [rule, ...]   replaces all rules
//   GET /__drill               the rules in force, each with how often it was met
//   POST /__drill {store, sql, values}   rows; asked here and not through the runtime's own bindings for
//                              tests, which stop this process's reader of log lines while they ask
//   PUT /__drill/clock {ahead_s}   the isolate's clock, and D1's as it sees it; DRILL_AHEAD_S is what a
//                              new isolate begins with
//
// A rule: {store: "DB" | "MGPASS_DB" | "FLAGS", sql?: regular expression, down?: true, late_ms?: n, times?: n, stale?: {key: value}}
// `sql` is tried on each statement of a batch; without it every batch of the store is met.
// `down`: refused before it reaches the store. `late_ms`: carried out so much later, which
// the Worker may not wait for. `stale`: a place of KV that still has these values (null: no
// such key). The first rule that is met is the only one applied.

import worker from './index.js';
import { moveClock, onTime } from './isolate_clock.mjs';

let rules = [];

const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function ruleFor(store, statements) {
  for (const rule of rules) {
    if (rule.store !== store || rule.times === 0) continue;
    if (rule.matcher && !statements.some(({ sql }) => rule.matcher.test(sql))) continue;
    rule.hits += 1;
    if (rule.times !== undefined) rule.times -= 1;
    return rule;
  }
  return undefined;
}

// The names are those by which worker-rs knows its bindings.
class D1PreparedStatement {
  constructor(sql, inner) {
    Object.assign(this, { sql, inner });
  }
  bind(...values) {
    return new D1PreparedStatement(this.sql, this.inner.bind(...values));
  }
}

class D1Database {
  constructor(inner, store) {
    Object.assign(this, { inner, store });
  }
  prepare(sql) {
    return new D1PreparedStatement(sql, this.inner.prepare(onTime(sql)));
  }
  async batch(statements) {
    const rule = ruleFor(this.store, statements);
    if (rule?.down) throw new Error('D1_ERROR: Network connection lost.');
    if (rule?.late_ms) await rest(rule.late_ms);
    return this.inner.batch(statements.map(({ inner }) => inner));
  }
}

/** A place that has not heard of a change yet. */
class KvNamespace {
  constructor(inner, store) {
    Object.assign(this, { inner, store });
  }
  async get(keys, options) {
    const rule = ruleFor(this.store, []);
    if (rule?.down) throw new Error('KV GET failed: 503');
    if (rule?.late_ms) await rest(rule.late_ms);
    const found = await this.inner.get(keys, options);
    if (!rule?.stale) return found;
    if (found instanceof Map) {
      for (const [key, value] of Object.entries(rule.stale)) if (found.has(key)) found.set(key, value);
      return found;
    }
    return keys in rule.stale ? rule.stale[keys] : found;
  }
  getWithMetadata(...given) { return this.inner.getWithMetadata(...given); }
  list(...given) { return this.inner.list(...given); }
  put(...given) { return this.inner.put(...given); }
  delete(...given) { return this.inner.delete(...given); }
}

const DATABASES = ['DB', 'MGPASS_DB', 'METRICS_DB', 'REWARDS_DB'];
let isBegun = false;

function around(env) {
  if (!isBegun && env.DRILL_AHEAD_S) moveClock(Number(env.DRILL_AHEAD_S));
  isBegun = true;
  const databases = DATABASES.filter((name) => env[name]).map((name) => [name, new D1Database(env[name], name)]);
  return { ...env, ...Object.fromEntries(databases), FLAGS: new KvNamespace(env.FLAGS, 'FLAGS') };
}

async function control(request, env) {
  if (new URL(request.url).pathname === '/__drill/clock') {
    isBegun = true;
    moveClock((await request.json()).ahead_s);
    return new Response();
  }
  if (request.method === 'POST') {
    const { store, sql, values } = await request.json();
    const { results } = await env[store].prepare(onTime(sql)).bind(...values).all();
    return Response.json(results);
  }
  if (request.method === 'PUT') {
    const given = await request.json();
    rules = given.map((rule) => ({ ...rule, hits: 0, matcher: rule.sql && new RegExp(rule.sql) }));
  }
  return Response.json(rules.map(({ matcher, ...rule }) => rule));
}

const isControl = (request) => new URL(request.url).pathname.startsWith('/__drill');

export default {
  fetch: (request, env, ctx) => (isControl(request) ? control(request, env) : worker.fetch(request, around(env), ctx)),
  queue: (batch, env, ctx) => worker.queue(batch, around(env), ctx),
  scheduled: (controller, env, ctx) => worker.scheduled(controller, around(env), ctx),
};
