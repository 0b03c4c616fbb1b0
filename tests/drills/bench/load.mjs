// The client of a benchmark: GETs over kept connections, one at a time on each, in
// a process of its own. Connections outlive a slice, so that a slice measures
// requests. Every answer is held to status 200 and its length.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { fileURLToPath } from 'node:url';

const END_OF_HEAD = Buffer.from('\r\n\r\n');
const LENGTH = /\r\ncontent-length: *(\d+)/i;
/** The first part of a slice runs, but does not count. */
export const RUN_IN = 0.1;

export async function startLoad() {
  const child = fork(fileURLToPath(import.meta.url), ['--run']);
  const died = once(child, 'exit').then(() => {
    throw new Error('the load generator ended');
  });
  died.catch(() => {});
  return {
    /** {url, path, headers, connections, bytes, duration_ms} -> {requests, elapsed_ms, p50_us, p99_us} */
    async slice(order) {
      child.send(order);
      const [result] = await Promise.race([once(child, 'message'), died]);
      if (result.fault) throw new Error(`${order.url}${order.path}: ${result.fault}`);
      return result;
    },
    stop: () => child.kill(),
  };
}

class Connection {
  static async open(port) {
    const socket = net.connect({ host: '127.0.0.1', port, noDelay: true });
    await once(socket, 'connect');
    return new Connection(socket);
  }

  constructor(socket) {
    this.socket = socket;
    this.isOpen = true;
    this.missing = 0;
    this.head = null;
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.isOpen = false;
      this.fail?.(new Error('the connection closed'));
    });
    socket.on('data', (chunk) => this.take(chunk));
  }

  send(request, bytes, done, fail) {
    Object.assign(this, { bytes, done, fail });
    this.socket.write(request);
  }

  take(chunk) {
    if (this.missing === 0) {
      const text = this.head === null ? chunk : Buffer.concat([this.head, chunk]);
      const end = text.indexOf(END_OF_HEAD);
      if (end < 0) {
        this.head = text;
        return;
      }
      this.head = null;
      const head = text.latin1Slice(0, end);
      const length = Number(LENGTH.exec(head)?.[1]);
      if (!head.startsWith('HTTP/1.1 200 ') || length !== this.bytes) {
        this.fail(new Error(`unexpected answer: ${head.split('\r\n')[0]}, ${length} bytes`));
        return;
      }
      this.missing = length - (text.length - end - END_OF_HEAD.length);
    } else {
      this.missing -= chunk.length;
    }
    if (this.missing === 0) this.done();
  }
}

function run() {
  const pools = new Map();

  async function connectionsTo(port, count) {
    const pool = (pools.get(port) ?? []).filter((connection) => connection.isOpen);
    pools.set(port, pool);
    while (pool.length < count) pool.push(await Connection.open(port));
    return pool.slice(0, count);
  }

  async function slice({ url, path, headers, connections, bytes, duration_ms }) {
    const { host, port } = new URL(url);
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    const request = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${lines.join('')}\r\n`);
    const pool = await connectionsTo(Number(port), connections);
    const began = performance.now();
    const counted = began + duration_ms * RUN_IN;
    const ends = began + duration_ms;
    const latencies = [];
    let ended = ends;
    const drive = (connection) =>
      new Promise((resolve, reject) => {
        let sent = performance.now();
        const done = () => {
          const now = performance.now();
          // A slice too short for its answers lasts until there is one for each connection.
          const isShort = latencies.length < connections;
          if (now >= counted && (now <= ends || isShort)) {
            latencies.push(now - sent);
            ended = Math.max(ended, now);
          }
          if (now >= ends && latencies.length >= connections) {
            connection.fail = undefined;
            resolve();
            return;
          }
          sent = now;
          connection.send(request, bytes, done, reject);
        };
        connection.send(request, bytes, done, reject);
      });
    await Promise.all(pool.map(drive));
    latencies.sort((left, right) => left - right);
    const at = (share) => Math.round(1000 * latencies[Math.floor((latencies.length - 1) * share)]);
    return { requests: latencies.length, elapsed_ms: ended - counted, p50_us: at(0.5), p99_us: at(0.99) };
  }

  process.on('message', (order) => {
    slice(order).then(
      (result) => process.send(result),
      (error) => process.send({ fault: error.message }),
    );
  });
  process.on('disconnect', () => process.exit());
}

if (process.argv[2] === '--run') run();
