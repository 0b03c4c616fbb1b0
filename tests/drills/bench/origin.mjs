// The backend of a benchmark: ready-made answers to GET over kept connections, in
// a process of its own. A path that contains `1mb` gets 1 MB, any other 2 B. The
// headers are those of an answer of Logto's.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { fileURLToPath } from 'node:url';

const BODIES = { '2b': Buffer.from('ok'), '1mb': Buffer.alloc(1_000_000, 'x') };
const END_OF_HEAD = '\r\n\r\n';

export async function startOrigin() {
  const child = fork(fileURLToPath(import.meta.url), ['--serve']);
  const [{ port }] = await once(child, 'message');
  return { url: `http://127.0.0.1:${port}`, pid: child.pid, stop: () => child.kill() };
}

function serve() {
  const answers = Object.fromEntries(Object.entries(BODIES).map(([name, body]) => [name, answer(body)]));
  const server = net.createServer((socket) => {
    let pending = '';
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      pending += chunk.latin1Slice();
      for (let end = pending.indexOf(END_OF_HEAD); end >= 0; end = pending.indexOf(END_OF_HEAD)) {
        const isLarge = pending.slice(0, pending.indexOf('\r\n')).includes('1mb');
        pending = pending.slice(end + END_OF_HEAD.length);
        socket.write(isLarge ? answers['1mb'] : answers['2b']);
      }
    });
  });
  server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
  process.on('disconnect', () => process.exit());
}

function answer(body) {
  const head = [
    'HTTP/1.1 200 OK',
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${body.length}`,
    'Cache-Control: no-store',
    'Date: Thu, 01 Oct 2026 00:00:00 GMT',
    'ETag: W/"2-nOO9QiTIwXgNtWtBJezz8kv3SLc"',
    'Referrer-Policy: strict-origin-when-cross-origin',
    'Strict-Transport-Security: max-age=31536000; includeSubDomains',
    'Vary: Origin',
    'X-Content-Type-Options: nosniff',
    'X-Frame-Options: SAMEORIGIN',
  ];
  return Buffer.concat([Buffer.from(head.join('\r\n') + END_OF_HEAD), body]);
}

if (process.argv[2] === '--serve') serve();
