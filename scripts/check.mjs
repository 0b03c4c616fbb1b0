// Format, lints for host and wasm, purity and map of the tree, and the release
// Worker with its sizes. Nothing is advisory.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

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
const shim = Buffer.concat(['index.js', 'glue.js'].map((name) => readFileSync(path.join(root, 'build', name))));
const size = (bytes) => `${(bytes.length / 1000).toFixed(0)} kB raw, ${(gzipSync(bytes, { level: 9 }).length / 1000).toFixed(0)} kB gzip`;
console.log(`\nindex_bg.wasm    ${size(wasm)}\nits JavaScript   ${size(shim)}\n\ncheck: passed`);
