// The clocks of a sandbox, moved together: this process's (the Logto stand-in's and the
// applications'), the proxy's isolate, mgPass's, and D1's as both of them see it. So days
// pass in no time for everybody: tokens expire, evidence grows old, rows come due.
//
// Timers do not move: a deadline on a call that is under way stays what it was. So whoever
// moves the clocks holds the traffic for that moment. It needs a sandbox that was started
// with around.mjs and with mgPass's moved.mjs.

import { movedBy as aheadS, moveClock, realNow } from './isolate_clock.mjs';

export { aheadS, realNow };

/** From now on so much later, in whole seconds. */
export async function passTime(sandbox, ms) {
  const seconds = aheadS() + Math.ceil(ms / 1_000);
  moveClock(seconds);
  const tell = async (url) => {
    const answer = await fetch(url, { method: 'PUT', body: JSON.stringify({ ahead_s: seconds }) });
    if (!answer.ok) throw new Error(`the clock of ${url}: ${answer.status} ${await answer.text()}`);
  };
  await Promise.all([tell(`${sandbox.proxy.url}/__drill/clock`), tell(`${sandbox.mgpass.control.url}/clock`)]);
}
