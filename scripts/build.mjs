// Builds the Worker: cargo, wasm-bindgen, one JavaScript module, wasm-opt. Set-up has made
// the tools; nothing but crates is fetched here.
//   --release (default)   into build/, which is tested and deployed
//   --live                into target/worker/live/, seconds after an edit: `npm run dev`
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { buildSync } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const at = (...parts) => path.join(root, ...parts);
const profile = process.argv.includes('--live') ? 'live' : 'release';
const made = (...parts) => at('target/worker', profile, ...parts);
const bindgen = at('.tools/bindgen');

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error) console.error(`build: ${command}: ${error.message}`);
  if (error || status !== 0) process.exit(1);
}

if (!existsSync(bindgen)) {
  console.error('build: .tools is empty. `npm run setup` fills it.');
  process.exit(1);
}
run('cargo', ['build', '--quiet', '--lib', '--target', 'wasm32-unknown-unknown', '--target-dir', at('target'), '--profile', profile]);

rmSync(made(), { recursive: true, force: true });
mkdirSync(made('parts'), { recursive: true });
run(bindgen, [at('target/wasm32-unknown-unknown', profile, 'dual_write_proxy.wasm'), 'module', 'glue', made('parts')]);

// The runtime knows a wasm module by its ending; the word `source` it does not read.
const glue = readFileSync(made('parts/glue.js'), 'utf8');
const given = 'import source wasmModule from "./glue_bg.wasm"';
if (!glue.includes(given)) {
  console.error(`build: wasm-bindgen no longer writes: ${given}`);
  process.exit(1);
}
writeFileSync(made('parts/glue.js'), glue.replace(given, 'import wasmModule from "./index_bg.wasm"'));
copyFileSync(at('src/shell/entry.js'), made('parts/entry.js'));
buildSync({
  entryPoints: [made('parts/entry.js')],
  outfile: made('index.js'),
  external: ['./index_bg.wasm'],
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: profile === 'release',
  logLevel: 'warning',
});

if (profile === 'live') {
  copyFileSync(made('parts/glue_bg.wasm'), made('index_bg.wasm'));
} else {
  // By name: a newer wasm-opt must not add what workerd does not know yet.
  const features = [
    'mutable-globals', 'sign-ext', 'nontrapping-float-to-int', 'bulk-memory',
    'multivalue', 'reference-types', 'exception-handling',
  ];
  run(at('node_modules/.bin/wasm-opt'), [
    made('parts/glue_bg.wasm'), '-o', made('index_bg.wasm'), '-O', ...features.map((feature) => `--enable-${feature}`),
  ]);
  rmSync(at('build'), { recursive: true, force: true });
  mkdirSync(at('build'));
  for (const file of ['index.js', 'index_bg.wasm']) copyFileSync(made(file), at('build', file));
}
