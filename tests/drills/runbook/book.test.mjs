// The reader of the book and its judge, on small books with each fault in turn; and the
// real book, as far as it can be held without running it.

import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { BookFault, readBook } from './book.mjs';
import { classify, storesAmiss } from './commands.mjs';
import { missing } from './match.mjs';
import { tallyOf, walk } from './walk.mjs';
import { filled } from './values.mjs';

const SMALL = `# Runbook

## First

### 1. Make a store

Words, and \`dwp status\` in them.

\`\`\`sh
npx wrangler kv namespace create FLAGS   # an id
dwp flag set stage shadow \\
  --reason "day one"
\`\`\`

Expected:

\`\`\`text
stage: … -> shadow, in force
nothing is wrong
\`\`\`

**Gate.** It is there.
**Back.** \`dwp flag set stage off\`.

### 2. Look

\`\`\`sh
dwp parked
\`\`\`

Expected in the end, exit status 1: \`u1\`, \`1 user\`

**Gate.** None.

**Back.** \`dwp flag set stage off\`, then again from step 1.
`;

/** A desk that answers what the test says, and notes what it was asked. */
function deskOf(answers) {
  const typed = [];
  return {
    typed, created: new Set(), isStale: false,
    filled: (text) => text,
    run: async (text) => {
      typed.push(text);
      const answer = answers(text, typed.filter((one) => one === text).length);
      return typeof answer === 'string' ? { status: 0, output: answer } : answer;
    },
    acts: { create() { typed.push('created'); return { status: 0, output: '' }; } },
  };
}

const quiet = async (work) => {
  const { log } = console;
  console.log = () => {};
  try {
    return await work();
  } finally {
    console.log = log;
  }
};
const walkThrough = (text, answers, options = {}) => {
  const desk = deskOf(answers);
  const tally = tallyOf();
  return quiet(() => walk(desk, readBook(text).steps, { besides: {}, keeps: {}, tally, ...options })).then(() => ({ desk, tally }));
};
const good = (text, nth) => {
  if (text.includes('stage shadow')) return 'stage: absent -> shadow, in force\nreads: none\nnothing is wrong\n';
  if (text === 'dwp parked') return nth < 2 ? 'nobody\n' : { status: 1, output: 'u1   taken\n1 user\n' };
  return '';
};

describe('a book', () => {
  test('is read as steps, commands, what is expected, gates and ways back', () => {
    const { steps, mentions } = readBook(SMALL);
    assert.deepEqual(steps.map(({ number, title, chapter }) => [number, title, chapter]), [[1, 'Make a store', 'First'], [2, 'Look', 'First']]);
    const [{ blocks: [first], back, gate }, second] = steps;
    assert.deepEqual(first.commands.map(({ text }) => text), ['npx wrangler kv namespace create FLAGS', 'dwp flag set stage shadow --reason "day one"']);
    assert.deepEqual(first.commands.map(({ line }) => line), [10, 11]);
    assert.deepEqual(first.expected, [{ line: 'stage: … -> shadow, in force' }, { line: 'nothing is wrong' }]);
    assert.match(gate, /It is there/);
    assert.deepEqual([back.commands.map(({ text }) => text), back.again], [['dwp flag set stage off'], 1]);
    assert.deepEqual([second.blocks[0].status, second.blocks[0].inTheEnd, second.blocks[0].expected], [1, true, [{ part: 'u1' }, { part: '1 user' }]]);
    assert.equal(second.back.again, 1);
    assert.deepEqual(mentions.map(({ text }) => text), ['dwp status']);
  });

  test('is walked, with each way back once, and counted', async () => {
    const { desk, tally } = await walkThrough(SMALL, good);
    assert.equal(desk.typed.filter((text) => text === 'created').length, 3);
    assert.equal(desk.typed.filter((text) => text === 'dwp flag set stage off').length, 2);
    assert.deepEqual([tally.run, tally.mapped, tally.elsewhere, tally.backs], [4, 1, 0, 2]);
  });

  test('fails at the first thing that is not as it says', async () => {
    const wrong = SMALL.replace('nothing is wrong\n```', 'something is wrong\n```');
    await assert.rejects(walkThrough(wrong, good), /step 1, Make a store\n +command +dwp flag set stage shadow.*runbook\.md:11\)\n +expected +something is wrong\n +came +[^]*nothing is wrong/);
    await assert.rejects(walkThrough(SMALL, (text, nth) => (text.includes('shadow') ? { status: 2, output: 'refused' } : good(text, nth))), /expected +exit status 0\n +came +exit status 2\n +refused/);
    // The right words in the wrong order.
    const order = SMALL.replace('stage: … -> shadow, in force\nnothing is wrong', 'nothing is wrong\nstage: … -> shadow, in force');
    await assert.rejects(walkThrough(order, good), /expected +stage: … -> shadow/);
    await assert.rejects(walkThrough(SMALL, (text, nth) => (text === 'dwp flag set stage off' ? { status: 1, output: 'no' } : good(text, nth))), /command +dwp flag set stage off/);
    await assert.rejects(walkThrough(SMALL.replace('again from step 1', 'again from step 7'), good), /a step before it/);
  });

  test('with a command that nobody knows fails before it is typed', async () => {
    for (const command of ['npx wrangler kv key put --binding FLAGS stage off', 'wrangler deploy', 'sudo reboot', 'npx wrangler d1 create']) {
      const told = [];
      await assert.rejects(walkThrough(SMALL.replace('dwp parked', command), (text, nth) => { told.push(text); return good(text, nth); }), /a command that the drill knows/);
      assert.ok(!told.includes(command), command);
    }
  });

  test('that cannot be meant is no book', () => {
    for (const [from, to, fault] of [
      ['### 2. Look', '### 3. Look', /step 3 comes after step 1/],
      ['nothing is wrong\n```', 'nothing is wrong\n', /is not closed|belongs to no command/],
      ['`u1`, `1 user`', 'somebody', /nothing is said to be expected/],
      ['```sh\ndwp parked\n```', '', /belongs to no command/],
      ['**Gate.** None.', 'Expected: `x`', /belongs to no command/],
    ]) {
      assert.throws(() => readBook(SMALL.replace(from, to)), (error) => error instanceof BookFault && fault.test(error.message), to);
    }
  });
});

describe('what is expected', () => {
  test('is found in order, a line as a line and a span as a part of one', () => {
    const output = '\u001b[32mDone\u001b[0m in 12 s\n  a   b\nSHA-256 0f3a, of term 1\n';
    for (const [expected, lacks] of [
      [[{ line: 'Done in … s' }, { line: 'a b' }], undefined],
      [[{ line: 'Done' }], 'Done'],
      [[{ part: 'Done' }, { part: '12 s' }], undefined],
      [[{ part: 'a b' }, { part: 'Done' }], 'Done'],
      [[{ line: 'SHA-256 …, of term …' }], undefined],
      [[{ line: 'SHA-256 …, of term 2' }], 'SHA-256 …, of term 2'],
      [[{ part: 'a.b' }], 'a.b'],
      [[{ line: 'a b' }, { line: 'a b' }], 'a b'],
    ]) assert.equal(missing(expected, output), lacks, JSON.stringify(expected));
  });
});

describe('values', () => {
  test('take the place of whole words alone', () => {
    const values = [['NAME', 'Anna'], ['https://a.example', 'http://b'], ['1h', () => '1s']];
    assert.equal(filled('--by NAME --tag NAMES https://a.example/x 1h', values), '--by Anna --tag NAMES http://b/x 1s');
  });
});

describe('stores', () => {
  const config = {
    kv_namespaces: [{ binding: 'FLAGS' }], d1_databases: [{ binding: 'DB', database_name: 'proxy' }, { binding: 'MGPASS_DB', database_name: 'mgpass' }],
    queues: { producers: [{ queue: 'mirror' }], consumers: [{ queue: 'mirror', dead_letter_queue: 'dead' }] },
  };
  const all = ['kv namespace FLAGS', 'd1 proxy', 'queues mirror', 'queues dead'];
  test('that are bound and not created, or created and not bound, are named', () => {
    assert.deepEqual(storesAmiss(new Set(all), config), { missing: [], unbound: [] });
    for (const store of all) assert.deepEqual(storesAmiss(new Set(all.filter((one) => one !== store)), config).missing, [store]);
    assert.deepEqual(storesAmiss(new Set([...all, 'queues other']), config).unbound, ['queues other']);
  });
});

describe('docs/runbook.md', () => {
  const book = readBook(readFileSync(fileURLToPath(new URL('../../../docs/runbook.md', import.meta.url)), 'utf8'));
  test('has a gate and a way back at every step', () => {
    assert.ok(book.steps.length > 20);
    for (const { number, gate, back } of book.steps) assert.ok(gate && back, `step ${number}`);
  });
  test('holds no command that the drill does not know', () => {
    const typed = book.steps.flatMap(({ blocks, back }) => [...blocks.flatMap(({ commands = [] }) => commands), ...back.commands]);
    for (const { text, line } of [...typed, ...book.mentions]) assert.notEqual(classify(text).kind, 'unknown', `line ${line}: ${text}`);
  });
});

describe('links of the documents', () => {
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  const anchorsOf = (text) => [...text.replace(/```[^]*?```/g, '').matchAll(/^#+ (.*)$/gm)].map(([, heading]) => heading.toLowerCase().replace(/[^\p{L}\p{N}_\- ]/gu, '').replaceAll(' ', '-'));
  for (const file of ['README.md', 'CONTRIBUTING.md', 'ARCHITECTURE.md', 'SECURITY.md', ...readdirSync(path.join(root, 'docs')).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`)]) {
    test(`${file} leads somewhere`, () => {
      const text = readFileSync(path.join(root, file), 'utf8').replace(/```[^]*?```/g, '');
      for (const [, to] of text.matchAll(/\]\((?!https?:|mailto:)([^)\s]+)\)/g)) {
        const [name, anchor] = to.split('#');
        const target = name === '' ? path.join(root, file) : path.join(root, path.dirname(file), name);
        assert.ok(existsSync(target), `${to}: no such file`);
        if (anchor) assert.ok(anchorsOf(readFileSync(target, 'utf8')).includes(anchor), `${to}: no such heading`);
      }
    });
  }
});
