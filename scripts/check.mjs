// Format, lints for host and wasm, layout and map of the tree, stores that the runbook
// creates, what comes in from outside, and the release Worker within its budget, bundled as
// a deployment would be.
// Nothing is advisory.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { inKb, measure, overBudget } from './budget.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

const TOOL = ['--manifest-path', 'tools/bindgen/Cargo.toml'];

const steps = [
  ['format', ['cargo', 'fmt', '--all', '--check']],
  ['format, tool', ['cargo', 'fmt', '--check', ...TOOL]],
  ['clippy, host', ['cargo', 'clippy', '--quiet', '--workspace', '--all-targets', '--', '-D', 'warnings']],
  ['clippy, wasm', ['cargo', 'clippy', '--quiet', '--lib', '--target', 'wasm32-unknown-unknown', '--', '-D', 'warnings']],
  ['clippy, tool', ['cargo', 'clippy', '--quiet', '--locked', '--target-dir', 'target/tools', ...TOOL, '--', '-D', 'warnings']],
  ['layout and map', ['cargo', 'test', '--quiet', '--test', 'native', 'tidy', '--', '--nocapture'], 'layout: '],
  // Every store that wrangler.toml binds is created by a command of the runbook.
  ['stores', [process.execPath, '--test', 'tests/drills/runbook/stores.test.mjs']],
  // The release Worker, built and bundled as a deployment would: what it would upload and
  // bind, without an account and without the network.
  ['dry deployment', [process.execPath, 'node_modules/wrangler/bin/wrangler.js', 'deploy', '--dry-run', '--outdir', 'target/dry']],
];

// Where cargo-deny is installed: that takes minutes, and CI has a job of its own for it.
const deny = (manifest, ...args) => ['cargo', 'deny', '--workspace', '--manifest-path', manifest, '--config', 'deny.toml', ...args];
const isDone = ([command, ...args]) => spawnSync(command, args, { cwd: root }).status === 0;
const notes = [];
if (isDone(['cargo', 'deny', '--version'])) {
  // The advisories come from GitHub; without it the rest can still be looked at.
  const hasAdvisories = isDone(deny('Cargo.toml', 'fetch', 'db'));
  const what = ['bans', 'licenses', 'sources', ...(hasAdvisories ? ['advisories'] : [])];
  steps.push(['dependencies', deny('Cargo.toml', 'check', ...what)], ['of the tool', deny('tools/bindgen/Cargo.toml', 'check', ...what)]);
  if (!hasAdvisories) notes.push('advisories: not looked at, their database could not be fetched');
} else {
  notes.push('dependencies: not looked at, cargo-deny is not installed');
}

// `shown`: how the lines begin that are worth reading though nothing failed.
for (const [name, [command, ...args], shown] of steps) {
  const began = Date.now();
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8', env: { ...process.env, WRANGLER_SEND_METRICS: 'false' } });
  if (error || status !== 0) {
    console.error(`${name}: failed\n${error?.message ?? ''}${stdout}${stderr}`);
    process.exit(1);
  }
  for (const line of stdout.split('\n')) {
    const start = shown === undefined ? -1 : line.indexOf(shown);
    if (start >= 0) console.log(`    ${line.slice(start + shown.length)}`);
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
for (const note of notes) console.log(`\n${note}`);
console.log('\ncheck: passed');
