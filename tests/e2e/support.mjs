// The built Worker before an origin of the test's own making, on real workerd.

import { once } from 'node:events';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { scratch } from '../harness/sandbox/scratch.mjs';
import { SECRETS } from '../harness/sandbox/sandbox.mjs';
import { applyMigrations, startWorkers } from '../harness/sandbox/workers.mjs';

export const root = fileURLToPath(new URL('../..', import.meta.url));

// An origin that answers what the test says; the last request is kept as it came.
export async function startOrigin() {
  const origin = { answer: (_request, response) => response.end('ok'), seen: [] };
  const server = http.createServer((request, response) => {
    const { method, url, rawHeaders } = request;
    const seen = { method, url, rawHeaders, headers: request.headers };
    origin.seen.push(seen);
    origin.answer(request, response, seen);
  });
  server.on('upgrade', (request, socket) => origin.upgrade?.(request, socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  origin.server = server;
  origin.url = `http://127.0.0.1:${server.address().port}`;
  origin.close = () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); });
  return origin;
}

export async function startProxy({ origin, vars = {}, config = 'wrangler.toml', migrate = true }) {
  const { directory, remove } = scratch();
  const lines = [];
  const workers = await startWorkers({
    persistTo: directory,
    onLog: (line) => lines.push(line),
    workers: [{
      name: 'dual-write-proxy',
      config: path.join(root, config),
      port: 0,
      vars: { LOGTO_ORIGIN: origin, LOGTO_ISSUER: 'http://auth.example.com/oidc', MGPASS_ORIGIN: 'http://127.0.0.1:9', MGPASS_ISSUER: 'http://127.0.0.1:9', ...SECRETS, ...vars },
    }],
  });
  if (migrate) await applyMigrations({ sandbox: workers, databaseId: 'proxy-local', directory: path.join(root, 'schema/proxy') });
  const { url, getBindings } = workers.workers['dual-write-proxy'];
  return {
    url,
    port: Number(new URL(url).port),
    workers,
    bindings: await getBindings(),
    lines,
    events: (name) => lines.filter((line) => line.startsWith('{"event"')).map((line) => JSON.parse(line)).filter(({ event }) => !name || event === name),
    async close() {
      await workers.dispose();
      remove();
    },
  };
}

// A request as it stands, without a client library's additions.
export function raw(port, { method = 'GET', path: target = '/', headers = {}, body, onResponse }) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port, method, path: target, headers, agent: false }, (response) => {
      onResponse?.(response, request);
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => resolve({
        status: response.statusCode, headers: response.headers, rawHeaders: response.rawHeaders, complete: response.complete, body: Buffer.concat(chunks),
      }));
      response.on('aborted', () => reject(new Error('aborted')));
    });
    request.on('error', reject);
    if (typeof body === 'function') body(request);
    else request.end(body);
  });
}
