// All set-up, from a fresh clone: packages, wasm target, build tools, the Worker
// itself. Needs rustup, Node >= 20 and npm. Each part is skipped when it is done.
//
// Runs on the system's Node; what follows it runs on the one in node_modules.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const at = (...parts) => path.join(root, ...parts);
const changed = (file) => (existsSync(file) ? statSync(file).mtimeMs : 0);

function step(what, command, args, hint = '') {
  console.log(`set-up: ${what}`);
  const began = Date.now();
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error || status !== 0) {
    console.error(`set-up: failed: ${command} ${args.join(' ')}${error ? `: ${error.message}` : ''}${hint}`);
    process.exit(1);
  }
  console.log(`set-up: done in ${Math.round((Date.now() - began) / 1000)} s`);
}

function newest(directory) {
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .reduce((newest, entry) => Math.max(newest, changed(path.join(entry.parentPath ?? entry.path, entry.name))), 0);
}

if (changed(at('node_modules/.package-lock.json')) < changed(at('package-lock.json'))) {
  step('installing npm packages (about 20 s)', 'npm', ['ci', '--no-audit', '--no-fund']);
}
const node = at('node_modules/.bin/node');
const { status } = spawnSync(node, ['scripts/tools.mjs'], { cwd: root, stdio: 'inherit' });
if (status !== 0) process.exit(1);
if (!existsSync(at('.dev.vars'))) copyFileSync(at('.dev.vars.example'), at('.dev.vars'));
const sources = Math.max(newest(at('src')), ...['Cargo.toml', 'Cargo.lock', 'scripts/worker-build.mjs'].map((file) => changed(at(file))));
if (changed(at('build/index_bg.wasm')) < sources) {
  step('building the Worker (about a minute the first time)', node, ['scripts/worker-build.mjs', '--release']);
}
// Beside the state, so that it goes with it.
const migrated = at('.wrangler/state/migrated');
if (changed(migrated) < newest(at('schema'))) {
  for (const database of ['DB', 'MGPASS_DB', 'METRICS_DB']) {
    step(`applying the migrations of ${database} (local)`, node, [
      'node_modules/wrangler/bin/wrangler.js', 'd1', 'migrations', 'apply', database, '--local',
    ], '\nset-up: local databases of an older layout? Remove .wrangler/state and start again.');
  }
  writeFileSync(migrated, '');
}
