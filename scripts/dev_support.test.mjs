// What `npm run dev` finds out about the machine before and while it runs.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { PORTS } from '../tests/harness/sandbox/sandbox.mjs';
import { findTakenPort, recordSchema, watchFiles } from './dev_support.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const dev = (...args) => spawnSync(process.execPath, ['scripts/dev.mjs', ...args], { cwd: root, encoding: 'utf8' });

function scratch(t) {
  const directory = mkdtempSync(path.join(tmpdir(), 'dev-support-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return (name, text) => {
    const file = path.join(directory, name);
    if (text !== undefined) {
      mkdirSync(path.dirname(file), { recursive: true });
      writeFileSync(file, text);
    }
    return file;
  };
}

// Resolves once somebody listens there, be it this test or a sandbox that runs already.
function occupy(port) {
  return new Promise((resolve) => {
    const server = net.createServer().once('error', () => resolve(undefined)).listen(port, '127.0.0.1', () => resolve(server));
  });
}

test('the taken port is named, and nothing is started or removed', async (t) => {
  const server = await occupy(PORTS.proxy);
  t.after(() => server?.close());
  assert.deepEqual(await findTakenPort(PORTS), { name: 'proxy', port: PORTS.proxy });
  const { status, stdout, stderr } = dev('--fresh');
  assert.equal(status, 1);
  assert.equal(stdout, '');
  assert.match(stderr, /^dev: port 8787 \(proxy\) is taken\. .*Ctrl-C.*lsof -i :8787.*\n$/);
});

test('free ports are free', async () => {
  const server = await occupy(0);
  const { port } = server.address();
  assert.deepEqual(await findTakenPort({ a: port }), { name: 'a', port });
  await new Promise((resolve) => server.close(resolve));
  assert.equal(await findTakenPort({ a: port }), undefined);
});

test('an unknown option is named, with those that there are', () => {
  const { status, stderr } = dev('--fressh');
  assert.equal(status, 1);
  assert.match(stderr, /^dev: Unknown option '--fressh'[^]*--fresh[^]*--json/);
  assert.equal(dev('--help').status, 0);
});

test('an edited or removed migration is found, a new one is not held against the databases', (t) => {
  const at = scratch(t);
  const look = () => recordSchema({ schema: at('schema'), state: at('state') });
  at('schema/proxy/0001_a.sql', 'one');
  at('schema/proxy/0002_b.sql', 'two');
  assert.equal(look(), undefined);
  at('schema/proxy/0003_c.sql', 'three');
  assert.equal(look(), undefined);
  at('schema/proxy/0003_c.sql', 'changed');
  assert.match(look(), /^schema\/proxy\/0003_c\.sql changed since /);
  at('schema/proxy/0003_c.sql', 'three');
  assert.equal(look(), undefined);
  rmSync(at('schema/proxy/0001_a.sql'));
  assert.match(look(), /^schema\/proxy\/0001_a\.sql is gone since /);
});

test('databases without a note of their migrations are of another version', (t) => {
  const at = scratch(t);
  at('schema/proxy/0001_a.sql', 'one');
  at('state/v3/kv/x', '');
  assert.equal(recordSchema({ schema: at('schema'), state: at('state') }), undefined);
  rmSync(at('state/schema.json'));
  at('state/v3/d1/x', '');
  assert.match(recordSchema({ schema: at('schema'), state: at('state') }), /another version/);
});

test('changed, new and removed files are told once each, and what changes meanwhile comes next', async (t) => {
  const at = scratch(t);
  at('src/a.rs', '1');
  at('src/deep/b.rs', '1');
  at('Cargo.toml', '1');
  at('src/c.rs', '1');
  const calls = [];
  let goOn;
  const next = () => new Promise((resolve) => { goOn = resolve; });
  let called = next();
  const timer = watchFiles({
    root: at('.'),
    paths: ['src', 'Cargo.toml', 'absent'],
    everyMs: 5,
    onChange: async (files) => {
      calls.push(files.sort());
      // During the first call: this must not be lost.
      if (calls.length === 1) at('src/deep/b.rs', 'changed');
      goOn();
    },
  });
  t.after(() => clearInterval(timer));
  at('src/a.rs', 'changed');
  at('src/.a.rs.swp', 'an editor');
  at('src/a.rs~', 'an editor');
  await called;
  called = next();
  await called;
  assert.deepEqual(calls, [['src/a.rs'], ['src/deep/b.rs']]);
  called = next();
  rmSync(at('src/c.rs'));
  await called;
  called = next();
  // The same size, another time.
  utimesSync(at('Cargo.toml'), 1, 1);
  await called;
  assert.deepEqual(calls.slice(2), [['src/c.rs'], ['Cargo.toml']]);
});
