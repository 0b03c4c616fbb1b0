// A deploy by the book: docs/runbook.md held to wrangler.toml (read as wrangler reads it), to
// docs/settings.md and to schema/. Every store that the Worker binds is created by a command
// of the book before it is deployed, or said to be there already. `npm run check` runs this.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { unstable_readConfig as readConfig } from 'wrangler';

import { readBook } from './book.mjs';
import { storesAmiss } from './commands.mjs';

const at = (path) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const read = (path) => readFileSync(at(path), 'utf8');

const book = read('docs/runbook.md');
const { steps, mentions } = readBook(book);
const blocks = steps.flatMap((step) => step.blocks);
const commands = blocks.flatMap(({ commands: list = [] }) => list).map(({ text }) => text);
const config = readConfig({ config: at('wrangler.toml') });

/** What commands of this form name, in their order. */
const named = (form, among = commands) => among.map((line) => form.exec(line)?.[1]).filter(Boolean);
const sorted = (list) => [...new Set(list)].sort();

// Bound without being created first.
const MADE_BY_USE = ['ANALYTICS'];

test('no table of wrangler.toml is one that this test does not look at', () => {
  const tables = [...read('wrangler.toml').matchAll(/^\[+([a-z0-9_.]+)\]+$/gm)].map(([, name]) => name);
  assert.deepEqual(sorted(tables), [
    'analytics_engine_datasets', 'build', 'd1_databases', 'kv_namespaces', 'queues.consumers', 'queues.producers', 'triggers', 'vars',
  ]);
});

test('every store that is bound is created, and no other; and each is deleted at the end', () => {
  const CREATE = /^npx wrangler (kv namespace|d1|queues) create (\S+)$/;
  const created = new Set(commands.map((line) => CREATE.exec(line)).filter(Boolean).map(([, kind, name]) => `${kind} ${name}`));
  assert.ok(created.size > 5);
  assert.deepEqual(storesAmiss(created, config), { missing: [], unbound: [] });
  const DELETE = /^npx wrangler (kv namespace|d1|queues) delete (?:--binding )?(\S+)$/;
  const deleted = commands.map((line) => DELETE.exec(line)).filter(Boolean).map(([, kind, name]) => `${kind} ${name}`);
  assert.deepEqual(sorted(deleted), sorted(created));
});

test('every id that stands in for a real one is named, so that it is replaced', () => {
  const ids = [...config.kv_namespaces.map(({ id }) => id), ...config.d1_databases.map(({ database_id: id }) => id)];
  for (const id of ids) assert.ok(book.includes(`\`${id}\``), id);
  for (const { binding } of config.analytics_engine_datasets) {
    assert.ok(MADE_BY_USE.includes(binding) && book.includes(`\`${binding}\``), binding);
  }
});

test('every database of ours is migrated, mgPass\'s by the named files alone, and the sandbox\'s never', () => {
  const migrated = config.d1_databases.filter(({ migrations_dir: directory }) => directory).map(({ binding }) => binding);
  assert.deepEqual(sorted(named(/^npx wrangler d1 migrations apply (\S+) --remote$/)), sorted(migrated));
  assert.ok(!migrated.includes('REWARDS_DB'));
  const { migrations_dir: directory } = config.d1_databases.find(({ binding }) => binding === 'MGPASS_DB');
  assert.match(directory, /schema\/mirror$/);
  for (const file of readdirSync(at('schema/mirror'))) assert.ok(book.includes(file), file);
});

test('stores and tables are there before the Worker is', () => {
  const deploy = commands.indexOf('npx wrangler deploy');
  assert.ok(deploy > 0);
  commands.forEach((line, index) => {
    if (/ create | migrations apply /.test(line)) assert.ok(index < deploy, line);
    if (/ secret put /.test(line)) assert.ok(index > deploy, line);
  });
});

test('every variable of wrangler.toml is set, and every secret', () => {
  const set = blocks.filter(({ kind }) => kind === 'toml').flatMap(({ body }) => [...body.matchAll(/^([A-Z_]+) = /gm)].map(([, name]) => name));
  for (const name of Object.keys(config.vars)) assert.ok(set.includes(name), name);
  const settings = read('docs/settings.md');
  for (const name of set) assert.ok(settings.includes(`\`${name}\``), name);
  const secrets = [...settings.matchAll(/secret `([A-Z_]+)`/g)].map(([, name]) => name);
  assert.ok(secrets.length > 5);
  // One of them in place of another: in prose.
  assert.deepEqual(sorted(named(/^npx wrangler secret put (\S+)$/, [...commands, ...mentions.map(({ text }) => text)])), sorted(secrets));
});
