// The import in the sandbox: generated people, the built Worker on workerd, both
// stand-ins, and the built command as the operator runs it. No network.
//
//   npm run import [-- --users 100000]   three sizes, the greatest last, then the equality report
//   npm run import -- --crash            Worker and command killed, live writers at work
//   npm run import -- --obstacles        every kind of obstacle, and the report about them
//
// Options: --seed N, --lanes N, --kills N (crash), --keep (leaves .sandbox/import-* there).
// Ends with `import: passed`; any miss exits non-zero.

import path from 'node:path';
import { parseArgs } from 'node:util';

import { scratchOr } from '../../harness/sandbox/scratch.mjs';
import { crash } from './crash.mjs';
import { obstacles } from './obstacles.mjs';
import { sizes } from './sizes.mjs';
import { root } from './support.mjs';

const { values } = parseArgs({
  options: {
    users: { type: 'string' }, seed: { type: 'string', default: '1' }, lanes: { type: 'string' }, kills: { type: 'string', default: '20' },
    crash: { type: 'boolean' }, obstacles: { type: 'boolean' }, keep: { type: 'boolean' },
  },
});
const number = (name, value) => {
  if (!/^[1-9]\d*$/.test(value)) throw new Error(`--${name} must be a positive number`);
  return Number(value);
};

const run = values.crash ? crash : values.obstacles ? obstacles : sizes;
const { directory } = scratchOr(path.join(root, `.sandbox/import-${run.name}`), values);
let failure;
try {
  await run({
    directory,
    users: values.users && number('users', values.users),
    seed: number('seed', values.seed),
    lanes: values.lanes && number('lanes', values.lanes),
    kills: number('kills', values.kills),
  });
} catch (error) {
  failure = error;
}
if (failure) console.error(`\n${failure.stack}`);
console.log(`import: ${failure ? 'failed' : 'passed'}`);
process.exit(failure ? 1 : 0);
