// `npm run drills`: everything that takes long, one after the other, and one table of
// what came of it. Some hours on two cores. `-- demo crash` runs those alone.
//
// Each is the npm script of that name; what it prints goes to .sandbox/drills/NAME.log,
// and the end of it here as well when it fails. A drill whose needs are not met is
// skipped, and said to be. Any failure exits non-zero.

import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { findPostgres } from '../../scripts/postgres.mjs';
import { findChromium } from './page/chromium.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const logs = path.join(root, '.sandbox/drills');
const SHOWN_LINES = 20;

const needsChromium = () => (findChromium() === undefined ? 'Chromium is not installed' : undefined);

// Name, script with its options, and why it cannot run here.
const DRILLS = [
  ['demo', ['demo']],
  ['attacks', ['attacks']],
  ['differential', ['differential']],
  ['logto-keys', ['logto-keys'], () => (findPostgres() === undefined ? 'PostgreSQL is not installed' : undefined)],
  ['faults', ['faults']],
  ['crash', ['crash']],
  ['crash-cutover', ['crash', '--', '--cutover']],
  ['import', ['import']],
  ['import-crash', ['import', '--', '--crash']],
  ['import-obstacles', ['import', '--', '--obstacles']],
  ['limits', ['limits']],
  ['ramp', ['ramp']],
  ['operator', ['operator']],
  ['runbook', ['runbook']],
  ['migration', ['migration']],
  ['cutover', ['cutover', '--', '--users', '10000']],
  ['sign-in', ['sign-in'], needsChromium],
  ['page', ['page'], needsChromium],
  ['bench', ['bench']],
];

function run(script, log) {
  return new Promise((resolve) => {
    const output = createWriteStream(log);
    const child = spawn('npm', ['run', '--silent', ...script], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.pipe(output, { end: false });
    child.stderr.pipe(output, { end: false });
    child.on('error', (error) => output.write(`${error.message}\n`));
    child.on('close', (status) => output.end(() => resolve(status)));
  });
}

const lines = (log) => readFileSync(log, 'utf8').split('\n').map((line) => line.trimEnd()).filter((line) => line !== '');

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !DRILLS.some(([known]) => known === name));
if (unknown.length > 0) {
  console.error(`drills: no drill is called ${unknown.join(', ')}; there are ${DRILLS.map(([name]) => name).join(', ')}`);
  process.exit(2);
}
mkdirSync(logs, { recursive: true });
const table = [];
for (const [name, script, obstacle] of DRILLS) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  const missing = obstacle?.();
  if (missing !== undefined) {
    table.push({ name, outcome: 'skipped', seconds: 0, last: missing });
    continue;
  }
  console.log(`drills: ${name} began at ${new Date().toTimeString().slice(0, 8)}`);
  const log = path.join(logs, `${name}.log`);
  const began = Date.now();
  const status = await run(script, log);
  const said = lines(log);
  if (status !== 0) console.error(said.slice(-SHOWN_LINES).map((line) => `    ${line}`).join('\n'));
  table.push({ name, outcome: status === 0 ? 'passed' : 'FAILED', seconds: Math.round((Date.now() - began) / 1000), last: said.at(-1) ?? '' });
}
console.log('');
for (const { name, outcome, seconds, last } of table) {
  console.log(`${name.padEnd(18)} ${outcome.padEnd(8)} ${String(seconds).padStart(5)} s  ${last.slice(0, 100)}`);
}
const nFailed = table.filter(({ outcome }) => outcome === 'FAILED').length;
console.log(`\ndrills: ${nFailed === 0 ? 'passed' : `${nFailed} failed`}; output in ${path.relative(root, logs)}/`);
process.exit(nFailed === 0 ? 0 : 1);
