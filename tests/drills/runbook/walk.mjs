// The steps in their order, each back walked once where the book has one: the step, its
// back, then again from where the book says.

import { pause } from '../../harness/sandbox/client.mjs';
import { classify } from './commands.mjs';
import { missing } from './match.mjs';

const IN_THE_END_MS = 240_000;
const SHOWN = 24;

export class Miss extends Error {
  constructor({ step, command, expected, came }) {
    super(`step ${step.number}, ${step.title}\n  command   ${command.text}  (docs/runbook.md:${command.line})\n  expected  ${expected}\n  came      ${came.trimEnd().split('\n').slice(-SHOWN).join('\n            ')}`);
  }
}

export const tallyOf = () => ({ run: 0, mapped: 0, elsewhere: 0, again: 0, backs: 0, expected: 0, forms: new Map() });

/** Typed, or what stands for it; {status, output, isRun}. */
async function type(desk, command, tally) {
  const found = classify(command.text);
  if (found.kind === 'unknown') return { isUnknown: true };
  if (!command.isCounted) {
    tally[found.kind] += 1;
    if (found.kind !== 'run') {
      const form = tally.forms.get(found.form) ?? { kind: found.kind, how: found.how, commands: [] };
      form.commands.push(command.text);
      tally.forms.set(found.form, form);
    }
    command.isCounted = true;
  } else tally.again += 1;
  if (found.kind === 'elsewhere') return { status: 0, output: '', how: '[not here]' };
  const result = found.act ? await desk.acts[found.act](found.groups) : await desk.run(desk.filled(found.text));
  return { ...result, how: found.kind === 'mapped' ? '[mapped]' : undefined };
}

async function walkBlock(desk, step, block, tally) {
  const unknown = block.commands.find(({ text }) => classify(text).kind === 'unknown');
  if (unknown) throw new Miss({ step, command: unknown, expected: 'a command that the drill knows (tests/drills/runbook/commands.mjs)', came: 'an unknown one' });
  let output = '';
  const last = block.commands.at(-1);
  for (const command of block.commands) {
    const began = Date.now();
    const result = await type(desk, command, tally);
    output += `${result.output}\n`;
    console.log(`   $ ${command.text}  ${result.how ?? `${((Date.now() - began) / 1_000).toFixed(1)} s`}`);
    const wanted = command === last ? block.status : 0;
    // In the end it is another one.
    if (result.status !== wanted && !(command === last && block.inTheEnd)) {
      throw new Miss({ step, command, expected: `exit status ${wanted}`, came: `exit status ${result.status}\n${result.output}` });
    }
    command.status = result.status;
  }
  if (desk.isStale) {
    desk.isStale = false;
    await desk.deploy({});
  }
  await judge(desk, step, block, output, tally);
}

async function judge(desk, step, block, output, tally) {
  const expected = block.expected.map((one) => Object.fromEntries(Object.entries(one).map(([form, words]) => [form, desk.filled(words)])));
  const last = block.commands.at(-1);
  const deadline = Date.now() + IN_THE_END_MS;
  let isSaid = false;
  for (;;) {
    const lacks = missing(expected, output);
    const isStatus = last.status === block.status;
    if (lacks === undefined && isStatus) break;
    if (!block.inTheEnd || Date.now() > deadline) {
      throw new Miss({ step, command: last, expected: lacks ?? `exit status ${block.status}`, came: isStatus ? output : `exit status ${last.status}\n${output}` });
    }
    if (!isSaid) console.log('      said again until it is as the book says');
    isSaid = true;
    await pause(1_000);
    const again = await type(desk, last, tally);
    output = again.output;
    last.status = again.status;
  }
  tally.expected += expected.length;
  for (const one of expected) console.log(`      ok: ${one.line ?? one.part}`);
}

async function walkStep(desk, step, besides, tally) {
  const { before, after } = besides[step.title] ?? {};
  console.log(`\n${step.number}. ${step.title}  (docs/runbook.md:${step.line})`);
  await before?.(desk);
  for (const [index, block] of step.blocks.entries()) {
    if (block.kind === 'toml') {
      desk.writeToml(block.body);
      console.log(`   wrangler.toml: ${block.body.trim().split('\n').length} lines of the book, with the values of the table below`);
    } else await walkBlock(desk, step, block, tally);
    await besides[step.title]?.between?.[index]?.(desk);
  }
  await after?.(desk);
}

/** `isStraight`: without ways back; `backs`: with these alone. `keeps`: titles whose back is not walked here, with the reason. */
export async function walk(desk, steps, { besides, keeps, tally, isStraight = false, backs }) {
  const walkedBack = new Set();
  for (let at = 0; at < steps.length; at += 1) {
    const step = steps[at];
    await walkStep(desk, step, besides, tally);
    if (isStraight || (backs && !backs.includes(step.number)) || !step.back || step.back.commands.length === 0 || walkedBack.has(step.number)) continue;
    if (keeps[step.title] !== undefined) {
      console.log(`   back: not walked, ${keeps[step.title]}`);
      continue;
    }
    walkedBack.add(step.number);
    tally.backs += 1;
    console.log('   back:');
    await besides[step.title]?.beforeBack?.(desk);
    const block = { commands: step.back.commands, expected: [], status: 0, inTheEnd: false };
    await walkBlock(desk, step, block, tally);
    await besides[step.title]?.afterBack?.(desk);
    const again = steps.findIndex(({ number }) => number === step.back.again);
    if (again < 0 || again > at) throw new Miss({ step, command: { text: step.back.text, line: step.back.line }, expected: 'a step before it to go on from', came: `step ${step.back.again}` });
    console.log(`   back; again from step ${step.back.again}`);
    at = again - 1;
  }
}
