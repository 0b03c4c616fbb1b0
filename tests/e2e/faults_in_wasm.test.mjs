// A fault inside wasm costs the request it happened in, at most, and no later one. The
// console is the one thing that wasm calls and that can be made to throw from outside.

import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { scratch } from '../harness/sandbox/scratch.mjs';
import { readBuild, readConfig, startWorkerd } from '../drills/bench/workerd.mjs';
import { until } from '../harness/sandbox/client.mjs';
import { raw, startOrigin } from './support.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** The lines that cannot be written, by their number. */
const THROWS = [3, 5];
const BEFORE = `const log = console.log;
let n = 0;
console.log = (line) => {
  n += 1;
  if (${JSON.stringify(THROWS)}.includes(n)) throw new Error('no console');
  log(line);
};
`;

test('the next request finds a new instance', async () => {
  const place = scratch('faults');
  const origin = await startOrigin();
  let lines = '';
  const worker = await startWorkerd({
    name: 'faults',
    scratch: place.directory,
    modules: readBuild(path.join(root, 'build'), BEFORE),
    config: readConfig(path.join(root, 'wrangler.toml'), { LOGTO_ORIGIN: origin.url, LOGTO_CLIENT_SECRET: 'x', MGPASS_CLIENT_SECRET: 'x' }),
    flags: { stage: 'dual_write' },
    log: (chunk) => (lines += chunk),
  });
  try {
    const { port } = new URL(worker.url);
    const ask = async (path) => (await raw(port, { path })).status;
    const passedOn = '/assets/1';
    const claimed = '/api/users/u1';
    assert.deepEqual(
      [await ask(passedOn), await ask(claimed), await ask(passedOn), await ask(passedOn), await ask(claimed), await ask(claimed), await ask(passedOn)],
      // What only notes a passed-on request takes no answer from the client.
      [200, 200, 200, 200, 500, 200, 200],
    );
    await until('the lines of all others', () => lines.split('"request.done"').length - 1 === 7 - THROWS.length);
  } finally {
    await worker.stop();
    await origin.close();
    place.remove();
  }
});
