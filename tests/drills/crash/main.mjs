// `npm run crash`: the built Worker killed with SIGKILL at random moments.
//
//   --cutover   while the users change hands, there and back (cutover.mjs); else under a
//               stream of writes (writes.mjs)
//   --kills N   50 without it
//   --main F    another built entry than that of wrangler.toml; with --cutover
//   --log F     every line of the Workers; with --cutover

import { parseArgs } from 'node:util';

const { values: options } = parseArgs({ options: { cutover: { type: 'boolean', default: false }, kills: { type: 'string', default: '50' }, main: { type: 'string' }, log: { type: 'string' } } });
// Calls that were under way when the process died.
process.on('unhandledRejection', () => {});

const { run } = await import(options.cutover ? './cutover.mjs' : './writes.mjs');
const isGood = await run(Number(options.kills), options);
console.log(`crash: ${isGood ? 'passed' : 'failed'}`);
process.exit(isGood ? 0 : 1);
