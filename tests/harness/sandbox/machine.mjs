// What a test asks of the machine it runs on.

import { readdirSync, readFileSync } from 'node:fs';
import net from 'node:net';

/** Ports that nobody listens on: servers that name each other need them before they listen. */
export async function freePorts(count) {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise((resolve, reject) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => resolve(server)).on('error', reject);
  })));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

export async function freePort() {
  const [port] = await freePorts(1);
  return port;
}

/** The workerd that this process started. Only Linux can tell; elsewhere there is none. */
export function workerdPids() {
  let processes;
  try {
    processes = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
  return processes.filter((pid) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const [, comm, rest] = /^\d+ \((.*)\) (.*)$/s.exec(stat);
      return comm === 'workerd' && Number(rest.split(' ')[1]) === process.pid;
    } catch {
      return false;
    }
  }).map(Number);
}
