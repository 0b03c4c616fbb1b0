// mgPass's stand-in with a clock that can be moved, for drills: PUT /clock {ahead_s} at its
// control port; AHEAD_S is what a new isolate begins with. It takes the place of worker.mjs.

import { moveClock, onTime } from '../../sandbox/isolate_clock.mjs';
import worker, { Control as Inner } from './worker.mjs';

let isBegun = false;

function around(env) {
  if (!isBegun && env.AHEAD_S) moveClock(Number(env.AHEAD_S));
  isBegun = true;
  return { ...env, DB: { prepare: (sql) => env.DB.prepare(onTime(sql)), batch: (statements) => env.DB.batch(statements) } };
}

export default {
  fetch: (request, env) => worker.fetch(request, around(env)),
};

export class Control extends Inner {
  constructor(context, env) {
    super(context, around(env));
  }
  async fetch(request) {
    if (new URL(request.url).pathname !== '/clock') return super.fetch(request);
    isBegun = true;
    moveClock((await request.json()).ahead_s);
    return new Response();
  }
}
