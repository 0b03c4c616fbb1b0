// A whole day of an operator in the sandbox, by `dwp` and `wrangler` alone: what they
// type, what they are told, and with which exit status. Applications and mgPass's own
// people do what they do by their APIs meanwhile. Any miss exits non-zero.
//
//   npm run operator [-- --live]     the Worker of `npm run dev` in place of the release one
//
// Parts, in the order of the day; each is a file beside this one and takes the desk
// (desk.mjs):
//   people  the first stages, an import, points, the report
//   flags   refused values and unknown keys, and how they are mended
//   parked  users who wait for a person, found, mended, replayed; orders about nobody
//   ramp    a plan to 100 with a bad step aborted and resumed, a hand in between
//   checklist    red for six reasons one after the other, then green
//   certificate  made, verified, edited, of another term, expired
//
// `--only checklist,certificate` leaves out the others but for the morning.

import { parseArgs } from 'node:util';

import { certificate } from './certificate.mjs';
import { checklist, closeChecklist } from './checklist.mjs';
import { closeDesk, openDesk, say } from './desk.mjs';
import { flags } from './flags.mjs';
import { evening, people } from './people.mjs';
import { parked } from './parked.mjs';
import { ramp } from './ramp.mjs';

const { values: options } = parseArgs({ options: { live: { type: 'boolean' }, only: { type: 'string' } } });
const NAMED = { people, flags, parked, ramp, checklist, certificate, evening };
const only = options.only?.split(',');
const PARTS = Object.keys(NAMED).filter((name) => !only || name === 'people' || only.includes(name)).map((name) => NAMED[name]);

const desk = await openDesk({ main: options.live ? 'target/worker/live/index.js' : undefined });
let failure;
try {
  for (const part of PARTS) {
    console.log(`\n${part.title}`);
    await part.run(desk);
  }
} catch (error) {
  failure = error;
} finally {
  await closeChecklist(desk);
  await closeDesk(desk);
}
if (failure) {
  console.error(`\n${failure.stack}\n\noperator: FAILED`);
  process.exit(1);
}
console.log('');
say(`${desk.nCommands} commands`);
console.log('operator: passed');
process.exit(0);
