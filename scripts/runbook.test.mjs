// Whoever deploys by the book has every store that wrangler.toml binds, and has set
// every secret that docs/settings.md requires.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

import { unstable_readConfig as readConfig } from 'wrangler';

const at = (file) => fileURLToPath(new URL(`../${file}`, import.meta.url));
const runbook = readFileSync(at('docs/runbook.md'), 'utf8');
const settings = readFileSync(at('docs/settings.md'), 'utf8');
const config = readConfig({ config: at('wrangler.toml') });

const commands = (pattern) => [...runbook.matchAll(pattern)].map(([, name]) => name).sort();
const unique = (names) => [...new Set(names)].sort();

test('every KV namespace is created', () => {
  assert.deepEqual(commands(/^ *npx wrangler kv namespace create (\S+)/gm), config.kv_namespaces.map((kv) => kv.binding).sort());
});

test('every queue is created, those of consumers and dead letters among them', () => {
  const { producers, consumers } = config.queues;
  const bound = [...producers.map((of) => of.queue), ...consumers.flatMap((of) => [of.queue, of.dead_letter_queue ?? of.queue])];
  assert.deepEqual(commands(/^ *npx wrangler queues create (\S+)/gm), unique(bound));
});

test('every database is created, but for the two that are there already', () => {
  const ours = config.d1_databases.filter((d1) => !['MGPASS_DB', 'REWARDS_DB'].includes(d1.binding));
  assert.deepEqual(commands(/^ *npx wrangler d1 create (\S+)/gm), ours.map((d1) => d1.database_name).sort());
  for (const d1 of config.d1_databases) assert.ok(runbook.includes(`\`${d1.database_id}\``), `the runbook says nothing of the id ${d1.database_id}`);
});

test('the migrations of every database but the source of the points are applied', () => {
  const migrated = config.d1_databases.filter((d1) => d1.binding !== 'REWARDS_DB').map((d1) => d1.binding);
  assert.deepEqual(unique(commands(/^ *npx wrangler d1 migrations apply (\S+)/gm)), migrated.sort());
});

test('every secret of the settings is set', () => {
  const secrets = unique([...settings.matchAll(/^\|.*?secret `([A-Z_]+)`/gm)].map(([, name]) => name));
  assert.ok(secrets.length > 5, `${secrets}`);
  const set = unique(commands(/^ *npx wrangler secret put ([A-Z_]+)/gm));
  assert.deepEqual(secrets.filter((name) => !set.includes(name)), []);
});
