// Front of a stand-in backend: a node:http listener with counters and fault switches.
//
// Proofs count at the backends, not by the proxy's own word, so everything that reached this process is
// counted here, and everything that can go wrong between the proxy and a backend can be made to go wrong here.
//
// Control port (plain HTTP, JSON):
//   GET    /counters          {name, total, faulted, byRoute: {"GET /api/users/:id": {count, byStatus: {"200": n}, byCaller?: {name: n}}}}
//                             `total` and `byRoute` hold what the real handler served; what a rule answered
//                             without running the handler is only in `faulted` (total) and `faultedByRoute`.
//                             A status of 0 means that the client went away before the answer was complete.
//   GET    /requests?last=N   the last N of a ring of 10,000 {at, method, path, status, faulted?, caller?}, oldest first
//   DELETE /counters          resets counters and ring
//   GET    /faults            the rules in force, each with what is left of `times`
//   PUT    /faults            JSON array of rules, replaces all
//   DELETE /faults            removes all
//   PUT    /keep              {path: "regular expression"}: from now on keeps what is presented on these paths
//   GET    /kept              [{at, method, path, status, authorization?, cookie?, body}], oldest first
//   POST   /off               stops listening and destroys all connections: the port refuses, as if the process were down
//   POST   /on                listens again on the same port
// Anything else goes to the backend's own control routes, if it has any.
//
// A rule: {
//   "match": {"method"?: "GET", "path"?: "regular expression"},   tried on the path and on path?query; absent = all
//   "latency_ms"?: n            waits first; alone, it only slows the real handler down
//   "status"?: 503, "body"?: any JSON or text, "headers"?: {}     answers this, the handler never runs
//   "reset"?: true              resets the connection, the handler never runs
//   "hang"?: true               never answers, the handler never runs
//   "commit_then"?: "reset" | "hang" | <status>   runs the handler to completion, throws its answer away, then that
//   "commit_late_ms"?: n        answers 504 at once (or resets, with "reset": true); n ms later runs the handler
//                               with the body that was read before
//   "lie_content_length"?: true runs the handler, declares 100 bytes more than it sends, then closes
//   "probability"?: 0..1, "times"?: n              how often; after `times` uses the rule is spent
// }
// The first rule that matches (and wins its dice roll) is the only one applied.

import http from 'node:http';
import net from 'node:net';

const RING = 10_000;
const OF_A_RULE = new Set(['match', 'latency_ms', 'status', 'body', 'headers', 'reset', 'hang', 'commit_then', 'commit_late_ms', 'lie_content_length', 'probability', 'times']);

/** A response that keeps what the handler wrote instead of sending it. */
class CapturedResponse extends http.ServerResponse {
  chunks = [];
  writeHead(status, ...rest) {
    this.statusCode = status;
    const headers = rest.find((item) => item && typeof item === 'object');
    if (Array.isArray(headers)) {
      for (let i = 0; i < headers.length; i += 2) this.appendHeader(headers[i], headers[i + 1]);
    } else if (headers) {
      for (const [name, value] of Object.entries(headers)) if (value !== undefined) this.setHeader(name, value);
    }
    return this;
  }
  #take(chunk, encoding) {
    if (chunk === undefined || chunk === null || typeof chunk === 'function') return;
    this.chunks.push(typeof chunk === 'string' ? Buffer.from(chunk, typeof encoding === 'string' ? encoding : 'utf8') : Buffer.from(chunk));
  }
  write(chunk, encoding, callback) {
    this.#take(chunk, encoding);
    const done = typeof encoding === 'function' ? encoding : callback;
    if (done) process.nextTick(done);
    return true;
  }
  end(chunk, encoding, callback) {
    if (this.finished) return this;
    this.#take(chunk, encoding);
    this.finished = true;
    const done = [chunk, encoding, callback].find((item) => typeof item === 'function');
    process.nextTick(() => {
      done?.();
      this.emit('finish');
      this.emit('close');
    });
    return this;
  }
  flushHeaders() {}
  get body() {
    return Buffer.concat(this.chunks);
  }
}

/** The same request again, on a socket of its own, with its body already here. */
function replayRequest(req, body) {
  const socket = new net.Socket();
  Object.defineProperty(socket, 'remoteAddress', { value: req.socket.remoteAddress });
  const copy = new http.IncomingMessage(socket);
  copy.method = req.method;
  copy.url = req.url;
  copy.httpVersion = req.httpVersion;
  copy.httpVersionMajor = req.httpVersionMajor;
  copy.httpVersionMinor = req.httpVersionMinor;
  copy.rawHeaders = req.rawHeaders;
  copy.headers = req.headers;
  if (body.length > 0) copy.push(body);
  copy.push(null);
  copy.complete = true;
  return copy;
}

function runCaptured(handler, req, body) {
  return new Promise((resolve, reject) => {
    const replay = replayRequest(req, body);
    const res = new CapturedResponse(replay);
    res.once('finish', () => resolve(res));
    try {
      Promise.resolve(handler(replay, res)).catch(reject);
    } catch (error) {
      reject(error);
    }
  });
}

async function readAll(req) {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function reset(req) {
  if (req.socket.resetAndDestroy) req.socket.resetAndDestroy();
  else req.socket.destroy();
}

function answer(res, status, body, headers = {}) {
  const isText = typeof body === 'string';
  const bytes = body === undefined ? '' : isText ? body : JSON.stringify(body);
  res.writeHead(status, {
    ...(bytes === '' ? {} : { 'content-type': isText ? 'text/plain; charset=utf-8' : 'application/json; charset=utf-8' }),
    'content-length': Buffer.byteLength(bytes),
    ...headers,
  });
  res.end(bytes);
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * @param routeName (method, path without query) => name for the counters, such as "/api/users/:id"
 * @param callerOf  (req) => who asks, as far as the request says; counted beside the status
 * @param control   (req, res, url, readBody) => true when it answered; the backend's own control routes
 */
export async function startFront({
  name, port = 0, controlPort = 0, handler, host = '127.0.0.1', routeName = (_method, path) => path, callerOf, control: ownControl,
}) {
  const counters = { total: 0, faulted: 0, byRoute: Object.create(null), faultedByRoute: Object.create(null) };
  let ring = [];
  let ringAt = 0;
  let rules = [];
  let heard;
  let keep;
  const kept = [];

  function record(req, status, faulted) {
    const query = req.url.indexOf('?');
    const path = query === -1 ? req.url : req.url.slice(0, query);
    const route = `${req.method} ${routeName(req.method, path)}`;
    const table = faulted ? counters.faultedByRoute : counters.byRoute;
    const row = (table[route] ??= { count: 0, byStatus: Object.create(null) });
    row.count += 1;
    row.byStatus[status] = (row.byStatus[status] ?? 0) + 1;
    const caller = callerOf?.(req);
    if (caller !== undefined) {
      row.byCaller ??= Object.create(null);
      row.byCaller[caller] = (row.byCaller[caller] ?? 0) + 1;
    }
    if (faulted) counters.faulted += 1;
    else counters.total += 1;
    const entry = { at: Date.now(), method: req.method, path: req.url, status };
    if (faulted) entry.faulted = true;
    if (caller !== undefined) entry.caller = caller;
    heard?.(entry);
    ring[ringAt] = entry;
    ringAt = (ringAt + 1) % RING;
  }

  function ruleFor(req) {
    for (const rule of rules) {
      if (rule.left === 0) continue;
      if (rule.method && rule.method !== req.method) continue;
      if (rule.path && !rule.path.test(req.url.split('?', 1)[0]) && !rule.path.test(req.url)) continue;
      if (rule.source.probability !== undefined && Math.random() >= rule.source.probability) continue;
      if (rule.left !== undefined) rule.left -= 1;
      return rule.source;
    }
    return undefined;
  }

  /** Its body is read first, so that it can be looked at; the handler gets the same request. */
  async function keeping(req, res) {
    const body = await readAll(req);
    const { authorization, cookie } = req.headers;
    const entry = { at: Date.now(), method: req.method, path: req.url, status: 0, authorization, cookie, body: body.toString() };
    kept.push(entry);
    res.once('close', () => { entry.status = res.writableFinished ? res.statusCode : 0; });
    serve(replayRequest(req, body), res);
  }

  function serve(req, res) {
    res.once('close', () => record(req, res.writableFinished ? res.statusCode : 0, false));
    // A handler that fails must not take the whole stand-in down.
    Promise.resolve(handler(req, res)).catch(() => {
      if (!res.headersSent) answer(res, 500, 'front: handler failed');
      else req.socket.destroy();
    });
  }

  async function serveFaulty(rule, req, res) {
    if (rule.commit_late_ms !== undefined) {
      const body = await readAll(req);
      record(req, rule.reset ? 0 : 504, true);
      if (rule.reset) reset(req);
      else answer(res, 504, rule.body ?? 'Gateway Timeout');
      await wait(rule.commit_late_ms);
      const late = await runCaptured(handler, req, body);
      record(req, late.statusCode, false);
      return;
    }
    if (rule.latency_ms) await wait(rule.latency_ms);
    if (rule.commit_then !== undefined) {
      const real = await runCaptured(handler, req, await readAll(req));
      record(req, real.statusCode, false);
      if (rule.commit_then === 'reset') reset(req);
      else if (rule.commit_then !== 'hang') answer(res, rule.commit_then, rule.body, rule.headers);
      return;
    }
    if (rule.lie_content_length) {
      const real = await runCaptured(handler, req, await readAll(req));
      record(req, real.statusCode, false);
      const body = real.body;
      res.writeHead(real.statusCode, { ...real.getHeaders(), 'content-length': body.length + 100 });
      // An answer without body still has to reach the client, hence the flush before the socket goes.
      if (body.length > 0) res.write(body, () => req.socket.end());
      else { res.flushHeaders(); setImmediate(() => req.socket.end()); }
      return;
    }
    if (rule.reset) {
      record(req, 0, true);
      reset(req);
      return;
    }
    if (rule.hang) {
      record(req, 0, true);
      req.resume();
      return;
    }
    if (rule.status !== undefined) {
      record(req, rule.status, true);
      req.resume();
      answer(res, rule.status, rule.body, rule.headers);
      return;
    }
    serve(req, res);
  }

  const server = http.createServer({ keepAlive: true }, (req, res) => {
    if (keep?.test(req.url)) {
      keeping(req, res).catch(() => req.socket.destroy());
      return;
    }
    if (rules.length === 0) {
      serve(req, res);
      return;
    }
    const rule = ruleFor(req);
    if (!rule) {
      serve(req, res);
      return;
    }
    serveFaulty(rule, req, res).catch(() => {
      if (!res.headersSent) answer(res, 500, 'front: handler failed');
      else req.socket.destroy();
    });
  });
  // A pooled client must never meet a connection that this side closed a moment ago.
  server.keepAliveTimeout = 120_000;
  server.headersTimeout = 130_000;
  server.requestTimeout = 0;

  const listen = (target, at) => new Promise((resolve, reject) => {
    target.once('error', reject);
    target.listen(at, host, () => { target.removeListener('error', reject); resolve(target.address().port); });
  });
  const stop = (target) => new Promise((resolve) => {
    if (!target.listening) { resolve(); return; }
    target.close(() => resolve());
    target.closeAllConnections();
  });

  const faults = {
    list: () => rules.map((rule) => (rule.left === undefined ? rule.source : { ...rule.source, times: rule.left })),
    set(list) {
      // A rule that is misspelt would do nothing, and what it was to show would seem shown.
      for (const name of list.flatMap(Object.keys)) if (!OF_A_RULE.has(name)) throw new Error(`no part of a rule: ${name}`);
      rules = list.map((source) => ({
        source,
        method: source.match?.method?.toUpperCase(),
        path: source.match?.path === undefined ? undefined : new RegExp(source.match.path),
        left: source.times,
      }));
    },
    clear() { rules = []; },
  };

  function lastRequests(n) {
    const inOrder = ring.length < RING ? ring : [...ring.slice(ringAt), ...ring.slice(0, ringAt)];
    return n === 0 ? [] : inOrder.slice(-n);
  }
  function resetCounters() {
    Object.assign(counters, { total: 0, faulted: 0, byRoute: Object.create(null), faultedByRoute: Object.create(null) });
    ring = [];
    ringAt = 0;
  }

  const dataPort = await listen(server, port);
  const off = () => stop(server);
  const on = async () => { if (!server.listening) await listen(server, dataPort); };

  async function controlRequest(req, res) {
    const url = new URL(req.url, 'http://control');
    const readBody = async () => {
      const text = (await readAll(req)).toString();
      return text === '' ? undefined : JSON.parse(text);
    };
    switch (`${req.method} ${url.pathname}`) {
      case 'GET /counters': return answer(res, 200, { name, ...counters });
      case 'DELETE /counters': resetCounters(); return answer(res, 204);
      case 'GET /requests': return answer(res, 200, lastRequests(Number(url.searchParams.get('last') ?? 100)));
      case 'GET /faults': return answer(res, 200, faults.list());
      case 'PUT /faults': faults.set(await readBody() ?? []); return answer(res, 204);
      case 'DELETE /faults': faults.clear(); return answer(res, 204);
      case 'PUT /keep': keep = new RegExp((await readBody()).path); return answer(res, 204);
      case 'GET /kept': return answer(res, 200, kept);
      case 'POST /off': await off(); return answer(res, 204);
      case 'POST /on': await on(); return answer(res, 204);
      default:
        if (ownControl && await ownControl(req, res, url, readBody)) return undefined;
        return answer(res, 404, { error: `no control route ${req.method} ${url.pathname}` });
    }
  }
  const controlServer = http.createServer((req, res) => {
    controlRequest(req, res).catch((error) => {
      if (!res.headersSent) answer(res, 400, { error: error.message });
      else res.destroy();
    });
  });
  const actualControlPort = await listen(controlServer, controlPort);

  return {
    name,
    url: `http://${host}:${dataPort}`,
    port: dataPort,
    control: { url: `http://${host}:${actualControlPort}`, port: actualControlPort },
    counters,
    faults,
    requests: lastRequests,
    resetCounters,
    /** Hears of every request from now on, as the ring has it. */
    onRequest(listener) { heard = listener; },
    off,
    on,
    async close() {
      await Promise.all([stop(server), stop(controlServer)]);
    },
  };
}
