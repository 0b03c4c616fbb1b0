// The runbook, typed: the commands of docs/runbook.md are taken out of it and run in their
// order before the sandbox (the built Worker in workerd, both stand-ins), by the built `dwp`
// and by wrangler, and what the book says is expected is held against what comes. Each step's
// way back is walked once, then the step again. Twice: as far as the people are imported, and
// given up; then to the end.
//
//   npm run runbook [-- --live] [--until STEP] [--only road|given-up] [--straight] [--backs 20,30] [--skip 21,22]
//
// `--straight` leaves out the ways back, `--backs` all others, `--skip` steps.
//
// What has no form on one machine is mapped to what has (commands.mjs); what a person fills
// in stands in values.mjs; what other people and time do besides, in besides.mjs. All three
// are printed.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { besides, keeps } from './besides.mjs';
import { readBook } from './book.mjs';
import { classify } from './commands.mjs';
import { DRILL_VARS, HASTY_VARS, openDesk, root } from './desk.mjs';
import { SECRETS, VARIABLES } from './values.mjs';
import { Miss, tallyOf, walk } from './walk.mjs';

const GIVING_UP = 'Giving it up';
const GIVEN_UP_AFTER = 'Import people';

const { values: options } = parseArgs({ options: { live: { type: 'boolean' }, until: { type: 'string' }, only: { type: 'string' }, straight: { type: 'boolean' }, backs: { type: 'string' }, skip: { type: 'string', default: '' } } });
const main = options.live ? 'target/worker/live/index.js' : undefined;
const began = Date.now();
const book = readBook(readFileSync(path.join(root, 'docs/runbook.md'), 'utf8'));
const road = book.steps.filter(({ chapter }) => chapter !== GIVING_UP);
const wayOut = book.steps.filter(({ chapter }) => chapter === GIVING_UP);
const tally = tallyOf();
const heading = (text) => console.log(`\n=== ${text}`);

async function follow(name, steps, judge) {
  const desk = await openDesk({ name, main });
  try {
    await walk(desk, steps, { besides, keeps, tally, isStraight: options.straight, backs: options.backs?.split(',').map(Number) });
    await judge?.(desk);
    return desk;
  } finally {
    await desk.close();
  }
}

/** What the book must have done by its end. */
function judgeEnd(desk) {
  const config = desk.config();
  const left = [...desk.created].filter((store) => !desk.removed.has(store));
  if (left.length > 0 || !desk.removed.has('worker')) throw new Error(`not deleted at the end: ${left.join(', ') || 'the Worker'}`);
  const unset = Object.keys(SECRETS).filter((name) => !desk.secrets.has(name));
  if (unset.length > 0) throw new Error(`secrets that the book never puts: ${unset.join(', ')}`);
  if (desk.readers.bad.length > 0) throw new Error(`readers were refused: ${desk.readers.bad.slice(0, 3).join('; ')}`);
  console.log(`\n${desk.created.size} stores created by the book, all that wrangler.toml binds (${config.kv_namespaces.length} KV namespaces, ${config.d1_databases.length - 2} databases beside mgPass's own and that of the points, ${new Set([...desk.created].filter((store) => store.startsWith('queues'))).size} queues), and deleted; ${desk.secrets.size} secrets; ${desk.readers.n} reads by applications, none refused`);
}

function printTables(desk) {
  console.log('\nmapped, or not to be run on one machine:');
  for (const { kind, how, commands } of tally.forms.values()) {
    console.log(`  ${kind === 'elsewhere' ? 'not here' : 'mapped  '}  ${String(commands.length).padStart(2)} x  ${commands[0]}\n               ${how}`);
  }
  console.log('\nfilled in:');
  for (const [from, to, what] of desk.values) console.log(`  ${from.padEnd(34)} ${(typeof to === 'function' ? to() : to).padEnd(26)}  ${what}`);
  for (const [name, value] of Object.entries(VARIABLES)) console.log(`  ${name.padEnd(34)} ${value.padEnd(26)} in wrangler.toml`);
  console.log(`\nsettings that are the drill's and not the book's: ${Object.entries(DRILL_VARS).map((pair) => pair.join('=')).join(' ')}; while users change hands ${Object.entries(HASTY_VARS).map((pair) => pair.join('=')).join(' ')}; cron each second`);
  console.log('\nways back that are not walked:');
  for (const { number, title, back } of book.steps.filter(({ title }) => keeps[title] !== undefined)) console.log(`  step ${number}  ${back.commands.map(({ text }) => text).join('; ')}\n               ${keeps[title]}`);
  const steps = book.steps.length;
  console.log(`\n${steps} steps; commands of the book: ${tally.run} run, ${tally.mapped} mapped, ${tally.elsewhere} not runnable on one machine, ${tally.again} said again; ${tally.backs} ways back walked; ${tally.expected} things expected and found; ${book.mentions.length} commands in sentences, each of a known form (their words are held by \`npm test\`)`);
}

let failure;
let desk;
try {
  for (const { text, line } of book.mentions) {
    if (classify(text).kind === 'unknown') throw new Error(`docs/runbook.md:${line}: no command that the drill knows: ${text}`);
  }
  const gone = Object.keys({ ...besides, ...keeps }).filter((title) => !book.steps.some((step) => step.title === title));
  if (gone.length > 0) throw new Error(`besides.mjs speaks of steps that the book does not have: ${gone.join(', ')}`);
  const end = road.findIndex(({ title }) => title === GIVEN_UP_AFTER);
  if (end < 0 || wayOut.length === 0) throw new Error(`the book has no step "${GIVEN_UP_AFTER}", or no chapter "${GIVING_UP}"`);
  if (options.only !== 'road') {
    heading(`To step ${end + 1}, and given up`);
    desk = await follow('given-up', [...road.slice(0, end + 1), ...wayOut]);
  }
  if (options.only !== 'given-up') {
    heading('The whole road');
    const until = options.until === undefined ? undefined : Number(options.until);
    const skipped = options.skip.split(',').map(Number);
    const isWhole = until === undefined && options.skip === '';
    desk = await follow('road', road.filter(({ number }) => (until === undefined || number <= until) && !skipped.includes(number)), isWhole ? judgeEnd : undefined);
  }
} catch (error) {
  failure = error;
}
if (desk) printTables(desk);
if (failure) console.error(`\n${failure instanceof Miss ? failure.message : failure.stack}`);
console.log(`\nrunbook: ${failure ? 'FAILED' : options.until || options.only || options.straight || options.backs || options.skip ? 'passed, in part' : 'passed'} after ${Math.round((Date.now() - began) / 1_000)} s`);
process.exit(failure ? 1 : 0);
