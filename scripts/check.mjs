// Format, lints for host and wasm, layout and map of the tree, what comes in from
// outside, and the release Worker with its sizes. Nothing is advisory.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const root = fileURLToPath(new URL('..', import.meta.url));

const steps = [
  ['format', ['cargo', 'fmt', '--all', '--check']],
  ['clippy, host', ['cargo', 'clippy', '--quiet', '--workspace', '--all-targets', '--', '-D', 'warnings']],
  ['clippy, wasm', ['cargo', 'clippy', '--quiet', '--lib', '--target', 'wasm32-unknown-unknown', '--', '-D', 'warnings']],
  ['layout and map', ['cargo', 'test', '--quiet', '--test', 'native', 'tidy', '--', '--nocapture'], 'layout: '],
  ['release wasm', [process.execPath, 'scripts/worker-build.mjs', '--release']],
];

// Where the tool is installed: it is not worth four minutes of a first set-up.
if (spawnSync('cargo', ['deny', '--version']).status === 0) {
  steps.splice(-1, 0, ['dependencies', ['cargo', 'deny', '--workspace', 'check']]);
}

// `shown`: how the lines begin that are worth reading though nothing failed.
for (const [name, [command, ...args], shown] of steps) {
  const began = Date.now();
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
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
const shim = Buffer.concat(['index.js', 'glue.js'].map((name) => readFileSync(path.join(root, 'build', name))));
const size = (bytes) => `${(bytes.length / 1000).toFixed(0)} kB raw, ${(gzipSync(bytes, { level: 9 }).length / 1000).toFixed(0)} kB gzip`;
console.log(`\nindex_bg.wasm    ${size(wasm)}\nits JavaScript   ${size(shim)}\n\ncheck: passed`);
