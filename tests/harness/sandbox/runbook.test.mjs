// A deploy by the book: "Before real origins" in docs/runbook.md, held to wrangler.toml
// (read as wrangler reads it), to docs/settings.md and to schema/. Every store that the
// Worker binds is created by a command of the book, or said to be there already.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { unstable_readConfig as readConfig } from 'wrangler';

const at = (path) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const read = (path) => readFileSync(at(path), 'utf8');

const book = read('docs/runbook.md');
const chapter = /^## Before real origins$(.*?)^## /ms.exec(book)[1];
const commandsOf = (text) => [...text.matchAll(/```sh\n(.*?)```/gs)]
  .flatMap(([, block]) => block.split('\n'))
  .map((line) => line.replace(/\s+#.*$/, '').trim())
  .filter(Boolean);
const commands = commandsOf(chapter);
const config = readConfig({ config: at('wrangler.toml') });

/** What commands of this form name, in their order. */
const named = (form, among = commands) => among.map((line) => form.exec(line)?.[1]).filter(Boolean);
const sorted = (list) => [...new Set(list)].sort();

// There before the proxy: the book says whose ids to write in.
const NOT_OURS = ['MGPASS_DB', 'REWARDS_DB'];
// Bound without being created first.
const MADE_BY_USE = ['ANALYTICS'];

test('no table of wrangler.toml is one that this test does not look at', () => {
  const tables = [...read('wrangler.toml').matchAll(/^\[+([a-z0-9_.]+)\]+$/gm)].map(([, name]) => name);
  assert.deepEqual(sorted(tables), [
    'analytics_engine_datasets', 'build', 'd1_databases', 'kv_namespaces', 'queues.consumers', 'queues.producers', 'triggers', 'vars',
  ]);
});

test('every KV namespace is created, and no other', () => {
  const bindings = config.kv_namespaces.map(({ binding }) => binding);
  assert.deepEqual(sorted(named(/^npx wrangler kv namespace create (\S+)$/)), sorted(bindings));
});

test('every database is created or said to be there already, and no other', () => {
  const ours = config.d1_databases.filter(({ binding }) => !NOT_OURS.includes(binding));
  assert.deepEqual(sorted(named(/^npx wrangler d1 create (\S+)$/)), sorted(ours.map(({ database_name: name }) => name)));
  assert.deepEqual(sorted(config.d1_databases.map(({ binding }) => binding).filter((binding) => NOT_OURS.includes(binding))), sorted(NOT_OURS));
});

test('every queue is created, that of dead letters too, and no other', () => {
  const { producers, consumers } = config.queues;
  const queues = [...producers, ...consumers].map(({ queue }) => queue);
  const dead = consumers.map(({ dead_letter_queue: queue }) => queue).filter(Boolean);
  assert.deepEqual(sorted(named(/^npx wrangler queues create (\S+)$/)), sorted([...queues, ...dead]));
});

test('every id that stands in for a real one is named, so that it is replaced', () => {
  const ids = [...config.kv_namespaces.map(({ id }) => id), ...config.d1_databases.map(({ database_id: id }) => id)];
  for (const id of ids) assert.ok(chapter.includes(`\`${id}\``), id);
  for (const { binding } of config.analytics_engine_datasets) {
    assert.ok(MADE_BY_USE.includes(binding) && chapter.includes(`\`${binding}\``), binding);
  }
});

test('every database of ours is migrated, mgPass\'s by the named files alone, and the sandbox\'s never', () => {
  const migrated = config.d1_databases.filter(({ migrations_dir: directory }) => directory).map(({ binding }) => binding);
  assert.deepEqual(sorted(named(/^npx wrangler d1 migrations apply (\S+) --remote$/)), sorted(migrated));
  assert.ok(!migrated.includes('REWARDS_DB'));
  const { migrations_dir: directory } = config.d1_databases.find(({ binding }) => binding === 'MGPASS_DB');
  assert.match(directory, /schema\/mirror$/);
  for (const file of readdirSync(at('schema/mirror'))) assert.ok(chapter.includes(file), file);
});

test('stores and tables are there before the Worker is', () => {
  const deploy = commands.indexOf('npx wrangler deploy');
  assert.ok(deploy > 0);
  commands.forEach((line, index) => {
    if (/ create | migrations apply /.test(line)) assert.ok(index < deploy, line);
    if (/ secret put /.test(line)) assert.ok(index > deploy, line);
  });
});

// Those of a later stage are set in its own chapter.
test('every variable of wrangler.toml is set, and every secret', () => {
  const set = [...chapter.matchAll(/```toml\n(.*?)```/gs)].flatMap(([, block]) => [...block.matchAll(/^\s*([A-Z_]+) = /gm)].map(([, name]) => name));
  assert.deepEqual(sorted(set), sorted(Object.keys(config.vars)));
  const secrets = [...read('docs/settings.md').matchAll(/secret `([A-Z_]+)`/g)].map(([, name]) => name);
  assert.ok(secrets.length > 5);
  assert.deepEqual(sorted(named(/^npx wrangler secret put (\S+)$/, commandsOf(book))), sorted(secrets));
});
