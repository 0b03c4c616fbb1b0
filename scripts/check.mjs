// Format, lints for host and wasm, purity and map of the tree, and the release
// Worker with its sizes. Nothing is advisory.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { inKb, measure, overBudget } from './budget.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

const steps = [
  ['format', ['cargo', 'fmt', '--check']],
  ['clippy, host', ['cargo', 'clippy', '--quiet', '--all-targets', '--features', 'cli', '--', '-D', 'warnings']],
  ['clippy, wasm', ['cargo', 'clippy', '--quiet', '--lib', '--target', 'wasm32-unknown-unknown', '--', '-D', 'warnings']],
  ['purity and map', ['cargo', 'test', '--quiet', '--test', 'native', 'tidy']],
  ['release wasm', [process.execPath, 'scripts/build.mjs', '--release']],
];

for (const [name, [command, ...args]] of steps) {
  const began = Date.now();
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  if (error || status !== 0) {
    console.error(`${name}: failed\n${error?.message ?? ''}${stdout}${stderr}`);
    process.exit(1);
  }
  console.log(`${name.padEnd(16)} ok  ${Math.round((Date.now() - began) / 1000)} s`);
}
const wasm = readFileSync(path.join(root, 'build/index_bg.wasm'));
const glue = readFileSync(path.join(root, 'build/index.js'));
const size = (bytes) => Object.entries(measure(bytes)).map(([kind, n]) => `${inKb(n)} ${kind}`).join(', ');
console.log(`\nindex_bg.wasm    ${size(wasm)}\nits JavaScript   ${size(glue)}`);
const over = overBudget(measure(wasm));
if (over.length > 0) {
  console.error(`\ncheck: ${over.join('; ')}. scripts/budget.mjs says what it is for.`);
  process.exit(1);
}
console.log('\ncheck: passed');
