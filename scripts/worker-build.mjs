// Builds the Worker into build/. `--release` (default) or `--dev`.
// Build tools are found by variable and never downloaded by the build itself.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, renameSync } from 'node:fs';

const root = new URL('..', import.meta.url).pathname;
const release = !process.argv.includes('--dev');
const tool = (path) => (existsSync(`${root}${path}`) ? `${root}${path}` : undefined);

function run(command, args, env = {}) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
  if (error) console.error(`build: ${command}: ${error.message}`);
  if (error || status !== 0) process.exit(1);
}

const env = {};
const bindgen = tool('.tools/bin/wasm-bindgen');
const esbuild = tool('node_modules/.bin/esbuild');
if (bindgen) env.WASM_BINDGEN_BIN = bindgen;
if (esbuild) env.ESBUILD_BIN = esbuild;
const wasmOpt = tool('node_modules/.bin/wasm-opt');
// worker-build passes --debuginfo to wasm-opt, so the optimiser runs here, after it.
const flags = release ? ['--release', ...(wasmOpt ? ['--no-opt'] : [])] : ['--dev'];
run(tool('.tools/bin/worker-build') ?? 'worker-build', flags, env);
if (release && wasmOpt) {
  const features = [
    'mutable-globals', 'sign-ext', 'nontrapping-float-to-int', 'bulk-memory',
    'multivalue', 'reference-types', 'exception-handling',
  ].map((feature) => `--enable-${feature}`);
  run(wasmOpt, ['build/index_bg.wasm', '-o', 'build/index_bg.wasm', '-O', ...features]);
}
// Our own module goes before worker-build's (src/shell/entry.js says why).
renameSync(`${root}build/index.js`, `${root}build/glue.js`);
copyFileSync(`${root}src/shell/entry.js`, `${root}build/index.js`);
