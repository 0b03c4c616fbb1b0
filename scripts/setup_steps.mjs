// The steps of set-up: npm packages, the build tool, the Worker. Each is skipped when it
// is done, so that a second start takes a moment. All it says goes to stderr: stdout is
// for what follows.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { findMissing } from './requirements.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const at = (...parts) => path.join(root, ...parts);
const node = at('node_modules/.bin/node');

export function setUp({ isToolsOnly }) {
  const [, wanted] = /^rust-version = "(.+)"/m.exec(readFileSync(at('Cargo.toml'), 'utf8'));
  const missing = findMissing(probe, { wanted, exists: existsSync });
  if (missing?.mend) step(missing.mend.flat().join(' '), ...missing.mend, missing.line);
  else if (missing) stop(missing.line);

  if (changed(at('node_modules/.package-lock.json')) < changed(at('package-lock.json'))) {
    // Errors alone: its warnings are about the system's Node, and nothing of this runs on that.
    step('installing npm packages (about 20 s)', 'npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
  }
  if (!existsSync(node)) {
    stop('node_modules/.bin/node is missing: npm skipped install scripts. Run `npm config delete ignore-scripts`, remove node_modules, and start again.');
  }
  if (changed(at('.tools/bindgen')) < newest(at('tools/bindgen'))) {
    const target = at('target/tools');
    step('building the build tool (about 20 s, once)', 'cargo', [
      'build', '--quiet', '--locked', '--release', '--manifest-path', 'tools/bindgen/Cargo.toml', '--target-dir', target,
    ]);
    mkdirSync(at('.tools'), { recursive: true });
    copyFileSync(path.join(target, 'release/bindgen'), at('.tools/bindgen'));
  }
  if (!existsSync(at('.dev.vars'))) copyFileSync(at('.dev.vars.example'), at('.dev.vars'));
  if (isToolsOnly) return;
  const sources = Math.max(newest(at('src')), ...['Cargo.toml', 'Cargo.lock', 'scripts/build.mjs', '.tools/bindgen'].map((file) => changed(at(file))));
  if (changed(at('build/index_bg.wasm')) < sources) {
    step('building the Worker (about a minute the first time)', node, ['scripts/build.mjs', '--release']);
  }
}

function stop(line) {
  console.error(`set-up: ${line}`);
  process.exit(1);
}

function probe(command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  return { isThere: error?.code !== 'ENOENT', isDone: status === 0, stdout: stdout ?? '', stderr: stderr ?? '' };
}

function step(what, command, args, hint) {
  console.error(`set-up: ${what}`);
  const began = Date.now();
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['inherit', 2, 2] });
  if (error?.code === 'ENOENT') stop(`${command} not found on PATH.${command === 'npm' ? ' It comes with Node from nodejs.org; Debian has it as a package of its own.' : ''}`);
  if (error || status !== 0) stop(hint ?? `this failed: ${command} ${args.join(' ')}`);
  console.error(`set-up: done in ${Math.round((Date.now() - began) / 1000)} s`);
}

function changed(file) {
  return existsSync(file) ? statSync(file).mtimeMs : 0;
}

function newest(directory) {
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .reduce((newest, entry) => Math.max(newest, changed(path.join(entry.parentPath ?? entry.path, entry.name))), 0);
}
