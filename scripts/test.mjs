// All tests, with counts: native (Rust), then on real workerd. Set-up has run.
// Exits non-zero on any failure, and when a part ran no test.
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const TEST_TIMEOUT_MS = 120_000;

function run(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.on('data', (chunk) => { text += chunk; process.stdout.write(chunk); });
    child.on('error', (error) => resolve({ code: 1, text: String(error) }));
    child.on('close', (code) => resolve({ code, text }));
  });
}

const sum = (text, pattern) => [...text.matchAll(pattern)].reduce((total, [, count]) => total + Number(count), 0);

const suites = [
  ['native', async () => {
    const { code, text } = await run('cargo', ['test', '--quiet', '--workspace', '--all-targets']);
    return { code, passed: sum(text, /(\d+) passed/g), failed: sum(text, /(\d+) failed/g) };
  }],
  ...['scripts', 'tests/harness/backends/logto', 'tests/harness/backends/mgpass', 'tests/translate_write', 'tests/harness/sandbox', 'tests/drills/runbook', 'tests/e2e'].map((directory) => [directory, async () => {
    const files = readdirSync(path.join(root, directory)).filter((name) => name.endsWith('.test.mjs')).map((name) => `${directory}/${name}`);
    // One file at a time: each starts a workerd of its own.
    const { code, text } = await run(process.execPath, [
      '--test', '--test-concurrency=1', `--test-timeout=${TEST_TIMEOUT_MS}`, '--test-reporter=spec', ...files,
    ]);
    return { code, passed: sum(text, /^ℹ pass (\d+)/gm), failed: sum(text, /^ℹ (?:fail|cancelled) (\d+)/gm) };
  }]),
];

const table = [];
for (const [name, suite] of suites) {
  const began = Date.now();
  const { code, passed, failed } = await suite();
  table.push({ name, passed, failed: failed || (code !== 0 || passed === 0 ? 1 : 0), seconds: Math.round((Date.now() - began) / 1000) });
}
console.log('');
for (const { name, passed, failed, seconds } of table) {
  console.log(`${name.padEnd(24)} ${String(passed).padStart(4)} passed ${String(failed).padStart(4)} failed  ${String(seconds).padStart(4)} s`);
}
const total = (what) => table.reduce((sum, row) => sum + row[what], 0);
console.log(`\n${total('passed')} passed, ${total('failed')} failed`);
process.exit(total('failed') === 0 ? 0 : 1);
