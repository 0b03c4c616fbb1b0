// Between the built Worker and its databases: what the drill says is down, or late. It
// stands beside the build as its entry. For this drill alone.
//
//   PUT /__drill [rule, ...]   replaces all rules
//   GET /__drill               the rules in force, each with how often it was met
//   POST /__drill {store, sql, values}   rows; asked here and not through the runtime's own bindings for
//                              tests, which stop this process's reader of log lines while they ask
//
// A rule: {store: "DB" | "MGPASS_DB", sql?: regular expression, down?: true, late_ms?: n, times?: n}
// `sql` is tried on each statement of a batch; without it every batch of the store is met.
// `down`: refused before it reaches the store. `late_ms`: carried out so much later, which
// the Worker may not wait for. The first rule that is met is the only one applied.

import worker from './index.js';

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
    return new D1PreparedStatement(sql, this.inner.prepare(sql));
  }
  async batch(statements) {
    const rule = ruleFor(this.store, statements);
    if (rule?.down) throw new Error('D1_ERROR: Network connection lost.');
    if (rule?.late_ms) await rest(rule.late_ms);
    return this.inner.batch(statements.map(({ inner }) => inner));
  }
}

function broken(env) {
  return { ...env, DB: new D1Database(env.DB, 'DB'), MGPASS_DB: new D1Database(env.MGPASS_DB, 'MGPASS_DB') };
}

async function control(request, env) {
  if (request.method === 'POST') {
    const { store, sql, values } = await request.json();
    const { results } = await env[store].prepare(sql).bind(...values).all();
    return Response.json(results);
  }
  if (request.method === 'PUT') {
    const given = await request.json();
    rules = given.map((rule) => ({ ...rule, hits: 0, matcher: rule.sql && new RegExp(rule.sql) }));
  }
  return Response.json(rules.map(({ matcher, ...rule }) => rule));
}

export default {
  fetch: (request, env, ctx) => (new URL(request.url).pathname === '/__drill' ? control(request, env) : worker.fetch(request, broken(env), ctx)),
  queue: (batch, env, ctx) => worker.queue(batch, broken(env), ctx),
  scheduled: (controller, env, ctx) => worker.scheduled(controller, broken(env), ctx),
};
