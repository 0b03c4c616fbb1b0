// The runbook as a list of steps, out of its Markdown. The form is said in the book itself,
// under "How to read this book", so that a reader and this file hold to the same:
//
//   ### 7. Title          a step; numbered without a gap through the whole book
//   ```sh                 what is typed, a command a line; `\` at its end goes on
//   ```toml               what is written into wrangler.toml
//   Expected: `a`, `b`    each stands in what the block printed, in this order
//   Expected:             and then ```text: each line stands there, in this order
//   Expected in the end:  the block's last command is said again until it is so
//   Expected, exit status 1:
//   **Gate.** ...         what must be true before the next step
//   **Back.** `command`, ... then again from step N
//
// `…` stands for whatever differs each time.

const COMMAND = /^(dwp|npx|curl|[A-Z_]+=\S+ dwp)\s/;
const EXPECTED = /^Expected(?<end> in the end)?(, exit status (?<status>\d))?:(?<rest>.*)$/;

/** A paragraph of its own, with or without an empty line before it. */
const BEGINS = /^(Expected\b.*:|\*\*(Gate|Back)\.\*\*)/;

export class BookFault extends Error {}

const spansOf = (text) => [...text.matchAll(/`([^`]+)`/g)].map(([, span]) => span);

/** A command a line, comments and continuations taken off. */
function commandsOf(body, line) {
  const commands = [];
  let open;
  body.forEach((raw, index) => {
    const text = raw.replace(/(^|\s)#\s.*$/, '').trim();
    if (text === '') return;
    const isGoingOn = text.endsWith('\\');
    const part = isGoingOn ? text.slice(0, -1).trim() : text;
    if (open) open.text += ` ${part}`;
    else commands.push(open = { text: part, line: line + index + 1 });
    if (!isGoingOn) open = undefined;
  });
  return commands;
}

/** Paragraphs, items of lists, rows of tables, headings and fences, each with its line. */
function* pieces(text) {
  const lines = text.split('\n');
  let paragraph;
  const flush = function* () {
    if (paragraph) yield paragraph;
    paragraph = undefined;
  };
  for (let n = 0; n < lines.length; n += 1) {
    const fence = /^\s*```(\w*)\s*$/.exec(lines[n]);
    if (fence) {
      yield* flush();
      const body = [];
      const line = n + 1;
      for (n += 1; n < lines.length && !/^\s*```\s*$/.test(lines[n]); n += 1) body.push(lines[n]);
      if (n === lines.length) throw new BookFault(`line ${line}: this fence is not closed`);
      yield { kind: 'fence', language: fence[1], body, line };
      continue;
    }
    const heading = /^(#+) (.*)$/.exec(lines[n]);
    if (heading) {
      yield* flush();
      yield { kind: 'heading', depth: heading[1].length, text: heading[2], line: n + 1 };
    } else if (lines[n].trim() === '') yield* flush();
    else if (/^\s*([*-]|\d+\.|\|) ?/.test(lines[n]) && !/^\*\*/.test(lines[n])) {
      yield* flush();
      yield { kind: 'prose', text: lines[n].trim(), line: n + 1 };
    } else if (paragraph && !BEGINS.test(lines[n].trim())) paragraph.text += ` ${lines[n].trim()}`;
    else {
      yield* flush();
      paragraph = { kind: 'prose', text: lines[n].trim(), line: n + 1 };
    }
  }
  yield* flush();
}

/** {steps, mentions}; `mentions` are commands that stand in prose. */
export function readBook(text) {
  const steps = [];
  const mentions = [];
  let chapter;
  let step;
  let waits;
  for (const piece of pieces(text)) {
    const fault = (what) => new BookFault(`line ${piece.line}: ${what}`);
    if (waits && piece.language !== 'text') throw new BookFault(`line ${waits.line}: nothing is said to be expected`);
    switch (piece.kind) {
      case 'heading': {
        const numbered = piece.depth === 3 && /^(\d+)\. (.*)$/.exec(piece.text);
        if (piece.depth <= 3) step = undefined;
        if (piece.depth === 2) chapter = piece.text;
        if (!numbered) break;
        step = { number: Number(numbered[1]), title: numbered[2], chapter, line: piece.line, blocks: [], toml: [], gate: undefined, back: undefined };
        if (step.number !== steps.length + 1) throw fault(`step ${step.number} comes after step ${steps.length}`);
        steps.push(step);
        break;
      }
      case 'fence': {
        if (waits) {
          const expected = piece.body.filter((line) => line.trim() !== '').map((line) => ({ line: line.trim() }));
          if (expected.length === 0) throw fault('nothing is said to be expected');
          waits.block.expected.push(...expected);
          waits = undefined;
          break;
        }
        if (!step) break;
        if (piece.language === 'sh') step.blocks.push({ kind: 'sh', line: piece.line, commands: commandsOf(piece.body, piece.line), expected: [], status: 0, inTheEnd: false });
        if (piece.language === 'toml') step.blocks.push({ kind: 'toml', line: piece.line, body: piece.body.join('\n') });
        break;
      }
      default: {
        const expected = EXPECTED.exec(piece.text);
        if (step && expected) {
          const block = step.blocks.findLast(({ kind }) => kind === 'sh');
          if (!block || block.isJudged) throw fault('this belongs to no command');
          block.isJudged = true;
          block.inTheEnd = expected.groups.end !== undefined;
          block.status = Number(expected.groups.status ?? 0);
          block.expected.push(...spansOf(expected.groups.rest).map((part) => ({ part })));
          if (block.expected.length === 0) waits = { block, line: piece.line };
          break;
        }
        const commands = spansOf(piece.text).filter((span) => COMMAND.test(span)).map((span) => ({ text: span, line: piece.line }));
        if (step && piece.text.startsWith('**Gate.**')) step.gate = piece.text;
        if (step && piece.text.startsWith('**Back.**')) {
          const again = /again from \[?step (\d+)/.exec(piece.text);
          step.back = { text: piece.text, line: piece.line, commands, again: again ? Number(again[1]) : step.number };
        } else mentions.push(...commands);
      }
    }
  }
  if (waits) throw new BookFault(`line ${waits.line}: nothing is said to be expected`);
  return { steps, mentions };
}
