// The stand-in as others see it: the Worker behind a front that counts and can
// fail (../front.mjs). The Worker itself is started with tests/harness/sandbox/workers.mjs:
//
//   const sandbox = await startWorkers({ persistTo, workers: [{
//     name: 'mgpass-standin', config: 'tests/harness/backends/mgpass/wrangler.toml', port: 0,
//     entrypoints: { Control: 0 }, vars: { ISSUER: 'http://127.0.0.1:4002' } }] });
//   await migrateMgpass(sandbox);
//   const { url, entrypoints } = sandbox.workers['mgpass-standin'];
//   const front = await startMgpassFront({ workerUrl: url, workerControlUrl: entrypoints.Control.url, port: 4002, controlPort: 4102 });
//
// ISSUER decides every published URL, so it names the address that callers use:
// the front's, or that of a proxy before it. Control routes of the Worker
// (control.mjs) answer on the front's control port beside the front's own.

import http from 'node:http';
import { fileURLToPath } from 'node:url';

import { routeName } from './routes.mjs';

const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'transfer-encoding']);

const SCHEMAS = ['../../../../schema/mgpass', './migrations'];

// The tables of mgPass and the stand-in's own. The mirror's tables are not among
// them: whoever runs the proxy applies schema/mirror too.
export async function migrateMgpass(sandbox, databaseId = 'mgpass-local') {
  const { applyMigrations } = await import('../../sandbox/workers.mjs');
  for (const schema of SCHEMAS) {
    const directory = fileURLToPath(new URL(schema, import.meta.url));
    await applyMigrations({ sandbox, databaseId, directory });
  }
}

export async function startMgpassFront({ workerUrl, workerControlUrl, port = 0, controlPort = 0 }) {
  const { startFront } = await import('../front.mjs');
  const control = workerControlUrl && forwardTo(workerControlUrl);
  return startFront({
    name: 'mgpass',
    port,
    controlPort,
    routeName,
    handler: forwardTo(workerUrl),
    control:
      control &&
      ((request, response) => {
        control(request, response);
        return true;
      }),
  });
}

// A listener that hands everything on as it came, bodies streamed both ways.
function forwardTo(target) {
  const { hostname, port } = new URL(target);
  // workerd closes an idle connection after five seconds; ours must go first, or a
  // request could meet a closed one.
  const agent = new http.Agent({ keepAlive: true, timeout: 3000 });
  return (request, response) => {
    const headers = endToEnd(request.rawHeaders);
    if (request.headers['cf-connecting-ip'] === undefined) {
      headers.push('cf-connecting-ip', request.socket.remoteAddress ?? '127.0.0.1');
    }
    // Length or chunks must be said as they were: Node decides anew only for what it adds itself.
    const isChunked = request.headers['transfer-encoding'] !== undefined;
    if (isChunked) headers.push('transfer-encoding', 'chunked');
    const upstream = http.request({ agent, hostname, port, method: request.method, path: request.url, headers });
    upstream.on('response', (answer) => {
      response.writeHead(answer.statusCode, endToEnd(answer.rawHeaders));
      answer.pipe(response);
      answer.on('error', () => response.destroy());
    });
    upstream.on('error', () => {
      if (response.headersSent || response.destroyed) return response.destroy();
      response.writeHead(502, { 'content-type': 'application/json' });
      return response.end('{"error":"bad_gateway","message":"The stand-in does not answer"}');
    });
    response.on('close', () => {
      if (!response.writableFinished) upstream.destroy();
    });
    request.pipe(upstream);
  };
}

function endToEnd(rawHeaders) {
  const kept = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (!HOP_BY_HOP.has(rawHeaders[index].toLowerCase())) kept.push(rawHeaders[index], rawHeaders[index + 1]);
  }
  return kept;
}
