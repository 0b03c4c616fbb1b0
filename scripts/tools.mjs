// Installs the build tools that npm does not carry into .tools, at the versions
// that work together (see Cargo.toml). Does nothing when they are there.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

const TOOLS = [
  { crate: 'wasm-bindgen-cli', version: '0.2.129', bin: 'wasm-bindgen' },
  { crate: 'worker-build', version: '0.8.7', bin: 'worker-build' },
];
const TARGET = 'wasm32-unknown-unknown';
const root = new URL('..', import.meta.url).pathname;

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error || status !== 0) {
    console.error(`set-up: "${command} ${args.join(' ')}" failed${error ? `: ${error.message}` : ''}`);
    process.exit(1);
  }
}

function installed() {
  const list = `${root}.tools/.crates.toml`;
  return existsSync(list) ? readFileSync(list, 'utf8') : '';
}

const targets = spawnSync('rustup', ['target', 'list', '--installed'], { encoding: 'utf8' });
if (targets.error) {
  console.error('set-up: rustup not found. Install it from rustup.rs, then run this again.');
  process.exit(1);
}
if (!targets.stdout.includes(TARGET)) {
  console.log(`set-up: adding the Rust target ${TARGET}`);
  run('rustup', ['target', 'add', TARGET]);
}
for (const { crate, version, bin } of TOOLS) {
  if (installed().includes(`"${crate} ${version} `) && existsSync(`${root}.tools/bin/${bin}`)) continue;
  console.log(`set-up: building ${crate} ${version} (once; about four minutes on two cores)`);
  run('cargo', ['install', '--locked', '--root', '.tools', `${crate}@${version}`, '--bin', bin]);
}
