// The operators' page in a real Chromium against the real sandbox, in each state that an
// operator meets: what it shows, how it looks, and what it must never do. Pictures lie in
// out/page/. Any miss exits non-zero.
//
//   npm run page [-- --live]     the Worker of `npm run dev` in place of the release one
//
// Looked at in each state: no error in the console, no request to another host, no breach
// of the page's policy, no serious finding of axe-core, no scrolling sideways at 400 px,
// the token nowhere but in memory.
//
//   browser  a Chromium and its watch over the page
//   desk     the sandbox, traffic, and a past for the plots
//   states   one after the other, as an operator meets them
//   leaving  after the hand-over: what stands in the way, and what is left
//   canary   values of a user in every field, looked for in all that operators see

import { parseArgs } from 'node:util';

import { openBrowser } from './browser.mjs';
import { canary } from './canary.mjs';
import { findChromium } from './chromium.mjs';
import { openDesk, say } from './desk.mjs';
import { leaving } from './leaving.mjs';
import { states } from './states.mjs';

const { values: options } = parseArgs({ options: { live: { type: 'boolean' } } });
const chromium = findChromium();
if (chromium === undefined) {
  console.error('page: no Chromium here. Debian has it as the package `chromium`; another one is taken from the variable CHROMIUM.');
  process.exit(2);
}

const desk = await openDesk({ main: options.live ? 'target/worker/live/index.js' : undefined });
const browser = await openBrowser({ executable: chromium, origin: desk.origin });
let failure;
try {
  for (const [title, run] of [['States', states], ['A canary in every field of a user', canary], ['Leaving Logto alone', leaving]]) {
    console.log(`\n${title}`);
    await run(desk, browser);
  }
  browser.assertQuiet();
} catch (error) {
  failure = error;
} finally {
  await browser.close();
  await desk.close();
}
if (failure) {
  console.error(`\n${failure.stack}\n\npage: FAILED`);
  process.exit(1);
}
console.log('');
say(`${browser.nStates} states, ${browser.nChecks} looks by axe-core, ${browser.nPictures} pictures in out/page/`);
console.log('page: passed');
process.exit(0);
