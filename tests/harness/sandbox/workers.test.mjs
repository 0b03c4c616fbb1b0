// What the launcher promises, each on real workerd:
//   own ports, relative modules, a wasm module, overridden variables, a named
//   entrypoint; D1 shared by database_id; KV written by wrangler from another
//   process; queues with retries and dead letters; cron; logs; migrations that
//   agree with wrangler; new code on the same ports; nothing left behind.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { freePort, workerdPids } from './machine.mjs';
import { scratch } from './scratch.mjs';
import { applyMigrations, startWorkers } from './workers.mjs';

const run = promisify(execFile);
const fixture = (name) => fileURLToPath(new URL(`workers-fixtures/${name}`, import.meta.url));
const wranglerBin = fileURLToPath(new URL('../../../node_modules/wrangler/bin/wrangler.js', import.meta.url));
const { directory: persistTo, remove } = scratch('workers');
const hasProc = existsSync('/proc/self/stat');
const lines = [];
let sandbox;
let fixedPort;

before(async () => {
  fixedPort = await freePort();
  sandbox = await startWorkers({
    persistTo,
    workers: [
      {
        name: 'writer',
        config: fixture('writer.toml'),
        port: fixedPort,
        entrypoints: { Control: 0 },
        vars: { COLOUR: 'from the test' },
      },
      { name: 'reader', config: fixture('reader.toml'), port: 0 },
    ],
    onLog: (line, { level }) => lines.push({ line, level }),
  });
  const applied = await applyMigrations({ sandbox, databaseId: 'sandbox-shared', directory: fixture('migrations') });
  assert.deepEqual(applied, ['0001_create_notes.sql', '0002_add_trigger.sql']);
});

after(async () => {
  await sandbox?.dispose();
  remove();
});

test('each worker answers on its own port, with its own host in the request', async () => {
  assert.equal(sandbox.workers.writer.url, `http://127.0.0.1:${fixedPort}`);
  assert.deepEqual(await (await call('writer', '/vars')).json(), {
    colour: 'from the test',
    shape: 'round',
    host: `127.0.0.1:${fixedPort}`,
  });
  assert.equal(await (await call('writer', '/nowhere')).text(), 'nothing at /nowhere');
});

test('a built worker runs its wasm module', async () => {
  assert.equal(await (await call('reader', '/add')).text(), '42');
});

test('a named entrypoint has its own port and the isolate of its worker', async () => {
  await call('writer', '/nowhere');
  const answer = await (await fetch(sandbox.workers.writer.entrypoints.Control.url)).text();
  assert.ok(Number(answer.split(' ')[1]) >= 1, answer);
});

test('a row written by one worker is read by the other through the same database_id', async () => {
  await call('writer', '/write?id=shared&text=hello');
  assert.deepEqual(await (await call('reader', '/?id=shared')).json(), { text: 'hello' });
});

test('bindings can be used from the test', async () => {
  const { FLAGS, DB } = await sandbox.workers.writer.getBindings();
  await FLAGS.put('stage', 'shadow');
  assert.equal(await (await call('writer', '/stage')).text(), 'shadow');
  await DB.prepare('INSERT INTO notes (id, text) VALUES (?, ?)').bind('binding', 'here').run();
  assert.deepEqual(await (await call('reader', '/?id=binding')).json(), { text: 'here' });
});

test('`wrangler kv key put --local` of another process is seen by the next read', async () => {
  await call('writer', '/stage');
  await wranglerRun('kv', 'key', 'put', '--local', '--binding', 'FLAGS', 'stage', 'dual_write');
  assert.equal(await (await call('writer', '/stage')).text(), 'dual_write');
});

test('`wrangler d1` of another process works on the same rows and the same book of migrations', async () => {
  await call('writer', '/write?id=both&text=ways');
  const { stdout } = await wranglerRun('d1', 'execute', 'DB', '--local', '--json', '--command', "UPDATE notes SET text = 'changed' WHERE id = 'both' RETURNING text");
  assert.match(stdout, /changed/);
  assert.deepEqual(await (await call('reader', '/?id=both')).json(), { text: 'changed' });
  const list = await wranglerRun('d1', 'migrations', 'list', 'DB', '--local');
  assert.match(list.stdout, /No migrations to apply/);
});

test('migrations are applied once', async () => {
  const again = await applyMigrations({ sandbox, databaseId: 'sandbox-shared', directory: fixture('migrations') });
  assert.deepEqual(again, []);
  const { DB } = await sandbox.workers.writer.getBindings();
  const { results } = await DB.prepare('SELECT id, name, applied_at FROM d1_migrations ORDER BY id').all();
  assert.deepEqual(results.map(({ id, name }) => [id, name]), [[1, '0001_create_notes.sql'], [2, '0002_add_trigger.sql']]);
  assert.match(results[0].applied_at, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/);
});

test('a queue message is consumed by the other worker', async () => {
  await call('writer', '/send?id=job-1');
  assert.deepEqual(await row('job-1'), { text: 'sandbox-jobs attempt 1' });
});

test('a message that always fails reaches the dead letter queue', async () => {
  await call('writer', '/send?id=job-2&fail');
  assert.deepEqual(await row('job-2'), { text: 'sandbox-jobs-dead attempt 1' });
});

test('a scheduled event can be triggered, with the given cron or the configured one', async () => {
  const { FLAGS } = await sandbox.workers.writer.getBindings();
  await sandbox.scheduled('writer', '1 2 3 4 5');
  assert.equal(await FLAGS.get('cron'), '1 2 3 4 5');
  await sandbox.scheduled('writer');
  assert.equal(await FLAGS.get('cron'), '*/5 * * * *');
});

test('console lines reach onLog raw, one call each', async () => {
  await call('writer', '/log');
  const wanted = JSON.stringify({ event: 'request.done', note: 'ä "quoted"' });
  await until(() => lines.some(({ line }) => line === 'plain error line'));
  assert.deepEqual(lines.find(({ line }) => line === wanted)?.level, 'log');
  assert.equal(lines.find(({ line }) => line === 'plain error line').level, 'error');
});

test('reload takes the code and the variables of now, on the same ports, with the same data', async (t) => {
  const place = scratch('reload');
  t.after(place.remove);
  const { directory } = place;
  const write = (word) => {
    writeFileSync(path.join(directory, 'main.mjs'), `export default {
      async fetch(request, env) { console.log('${word} was asked'); return new Response('${word} ' + env.COLOUR + ' ' + await env.FLAGS.get('stage')); },
    };`);
    writeFileSync(path.join(directory, 'wrangler.toml'), `name = "edited"
main = "main.mjs"
compatibility_date = "2026-10-01"
vars = { COLOUR = "${word}" }
kv_namespaces = [{ binding = "FLAGS", id = "edited-flags" }]
`);
  };
  write('old');
  const heard = [];
  const edited = await startWorkers({
    persistTo: directory,
    workers: [{ name: 'edited', config: path.join(directory, 'wrangler.toml'), port: 0 }],
    onLog: (line) => heard.push(line),
  });
  t.after(() => edited.dispose());
  const { url, getBindings } = edited.workers.edited;
  await (await getBindings()).FLAGS.put('stage', 'shadow');
  assert.equal(await (await fetch(url)).text(), 'old old shadow');
  write('new');
  await edited.reload();
  const ask = async () => (await fetch(url).catch(() => undefined))?.text();
  assert.equal(await until(ask), 'new new shadow');
  await (await getBindings()).FLAGS.put('stage', 'off');
  assert.equal(await ask(), 'new new off');
  await until(() => heard.includes('new was asked'));
});

test('dispose frees the port, ends workerd and keeps the data', async () => {
  const started = workerdPids();
  await sandbox.dispose();
  if (hasProc) assert.equal(started.length, 1);
  assert.deepEqual(workerdPids(), []);
  sandbox = await startWorkers({
    persistTo,
    workers: [{ name: 'writer', config: fixture('writer.toml'), port: fixedPort }],
  });
  assert.equal(sandbox.workers.writer.url, `http://127.0.0.1:${fixedPort}`);
  assert.equal(await (await call('writer', '/stage')).text(), 'dual_write');
});

test('a port that is taken is an error, and leaves nothing behind', async () => {
  const before = workerdPids().length;
  const options = { persistTo, workers: [{ name: 'writer', config: fixture('writer.toml'), port: fixedPort }] };
  await assert.rejects(startWorkers(options));
  assert.equal(workerdPids().length, before);
});

function call(name, route) {
  return fetch(sandbox.workers[name].url + route);
}

async function row(id) {
  return until(async () => (await call('reader', `/?id=${id}`)).json());
}

async function until(probe) {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const value = await probe();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('waited too long');
}

function wranglerRun(...args) {
  const env = { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1' };
  const where = ['--config', fixture('writer.toml'), '--persist-to', persistTo];
  return run(process.execPath, [wranglerBin, ...args, ...where], { env });
}
