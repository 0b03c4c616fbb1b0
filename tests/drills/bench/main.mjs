// `npm run bench`: every benchmark in turn, each a file of its own that exports
// run(context) and returns its figures as one JSON-able object.
//
//   --json           the last line is one JSON object of all figures, by benchmark
//   --quick          a few seconds in all: shows that a benchmark runs, not what it measures
//   --only <name>    one benchmark
//   --build <dir>    another build of the proxy than that in build/
//   --against <dir>  a second build of the proxy, measured beside the one in build/
//
// Figures of one machine say little; ratios of one run, taken in turns, say more.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import * as cutover from './cutover.mjs';
import * as listing from './listing.mjs';
import * as mirror from './mirror.mjs';
import * as passThrough from './pass_through.mjs';
import * as reads from './reads.mjs';
import * as signIn from './sign_in.mjs';
import * as tokens from './tokens.mjs';

const BENCHMARKS = { pass_through: passThrough, reads, mirror, listing, tokens, sign_in: signIn, cutover };

const root = fileURLToPath(new URL('../../..', import.meta.url));

async function main() {
  const { values: options } = parseArgs({
    options: {
      json: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      build: { type: 'string' },
      against: { type: 'string' },
    },
  });
  if (options.only !== undefined && BENCHMARKS[options.only] === undefined) {
    throw new Error(`no benchmark ${options.only}; there are: ${Object.keys(BENCHMARKS).join(', ')}`);
  }
  const build = path.resolve(options.build ?? path.join(root, 'build'));
  for (const directory of [build, options.against].filter((directory) => directory !== undefined)) {
    if (!existsSync(path.join(directory, 'index_bg.wasm'))) {
      throw new Error(`${directory} holds no built proxy: npm run setup`);
    }
  }
  const scratch = mkdtempSync(path.join(os.tmpdir(), 'bench-'));
  const figures = {};
  try {
    for (const [name, benchmark] of Object.entries(BENCHMARKS)) {
      if (options.only !== undefined && options.only !== name) continue;
      figures[name] = await benchmark.run({
        root,
        build,
        against: options.against && path.resolve(options.against),
        quick: options.quick,
        scratch,
        print: (text) => console.log(text),
      });
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  if (options.json) console.log(JSON.stringify(figures));
}

main().catch((error) => {
  console.error(`bench: ${error.message}`);
  process.exitCode = 1;
});
