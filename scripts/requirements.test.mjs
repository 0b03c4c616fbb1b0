// What set-up says when the machine lacks something. Programs are stood in for by what
// they print, or by small scripts on a PATH of their own.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { findMissing } from './requirements.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const done = (stdout) => ({ isThere: true, isDone: true, stdout, stderr: '' });
const absent = { isThere: false, isDone: false, stdout: '', stderr: '' };
const complete = {
  'rustc --version': done('rustc 1.95.0 (59807616e 2026-04-14)\n'),
  'cc --version': done('cc (Debian) 14\n'),
  'rustc --print target-libdir --target wasm32-unknown-unknown': done('/rust/wasm32/lib\n'),
  'rustup --version': done('rustup 1.29.0\n'),
};

function check(changes, { exists = true } = {}) {
  const answers = { ...complete, ...changes };
  const probe = (command, args) => answers[[command, ...args].join(' ')] ?? assert.fail(`asked for ${command} ${args}`);
  return findMissing(probe, { wanted: '1.91', exists: () => exists });
}

test('a complete machine lacks nothing', () => {
  assert.equal(check({}), undefined);
  assert.equal(check({ 'rustc --version': done('rustc 1.91.0-beta.1 (x)') }), undefined);
  assert.equal(check({ 'rustc --version': done('rustc 1.100.0 (x)') }), undefined);
  assert.equal(check({ 'rustc --version': done('rustc 2.0.0 (x)') }), undefined);
});

test('rustup need not be there when the target is', () => {
  assert.equal(check({ 'rustup --version': absent }), undefined);
});

test('what is missing is named with what to do', () => {
  assert.match(check({ 'rustc --version': absent }).line, /^Rust not found\. Install it from rustup\.rs \(stable, 1\.91 or newer\)/);
  assert.match(
    check({ 'rustc --version': { ...absent, isThere: true, stderr: "error: toolchain 'stable' is not installed\nhelp: more\n" } }).line,
    /^rustc does not run: toolchain 'stable' is not installed$/,
  );
  assert.match(check({ 'rustc --version': done('rustc 1.75.0 (x)\n') }).line, /1\.91 or newer is needed, this is 1\.75\.0\. Run: rustup update stable/);
  assert.match(check({ 'cc --version': absent }).line, /no C compiler/);
  assert.match(check({ 'rustup --version': absent }, { exists: false }).line, /there is no rustup to add it/);
  const target = check({}, { exists: false });
  assert.deepEqual(target.mend, ['rustup', ['target', 'add', 'wasm32-unknown-unknown']]);
  assert.match(target.line, /could not be added/);
});

test('Node: setup.mjs asks for what package.json names, and an old one reads that far', () => {
  const { engines } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  const text = readFileSync(path.join(root, 'scripts/setup.mjs'), 'utf8');
  assert.equal(engines.node, '>=20.3');
  assert.match(text, /major < 20 \|\| \(major === 20 && minor < 3\)/);
  // The file as it stands, told that it runs on an older one.
  const old = `Object.defineProperty(process, 'versions', { value: { node: '18.20.4' } });\n${text}`;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', old], { cwd: root, encoding: 'utf8' });
  assert.equal(status, 1);
  assert.match(stderr, /^set-up: Node 20\.3 or newer is needed, this is 18\.20\.4\. .*\n$/);
});

test('set-up ends with one line when Rust is not there, or its target cannot be added', () => {
  const bin = mkdtempSync(path.join(tmpdir(), 'requirements-'));
  const put = (name, script) => {
    writeFileSync(path.join(bin, name), `#!/bin/sh\n${script}\n`);
    chmodSync(path.join(bin, name), 0o755);
  };
  const setUp = () => spawnSync(process.execPath, ['scripts/setup.mjs', '--tools-only'], { cwd: root, encoding: 'utf8', env: { PATH: bin } });
  try {
    symlinkSync(execFileSync('sh', ['-c', 'command -v sh'], { encoding: 'utf8' }).trim(), path.join(bin, 'sh'));
    const without = setUp();
    assert.equal(without.status, 1);
    assert.match(without.stderr, /^set-up: Rust not found\. .*\n$/);

    put('rustc', 'case "$1" in --version) echo "rustc 1.95.0 (x)";; *) echo /nowhere;; esac');
    put('cc', 'echo cc');
    put('rustup', 'case "$1" in --version) echo "rustup 1.29.0";; *) exit 1;; esac');
    const offline = setUp();
    assert.equal(offline.status, 1);
    assert.match(offline.stderr, /^set-up: rustup target add wasm32-unknown-unknown\nset-up: the Rust target wasm32-unknown-unknown is missing and could not be added\. .*\n$/);
  } finally {
    rmSync(bin, { recursive: true, force: true });
  }
});
