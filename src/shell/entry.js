// The Worker's module. worker-build's own makes an object of a class and two proxies for
// every request; a plain object answers the same calls without them. What they are for
// stays: after a fault inside wasm, the next event begins with a new instance.
import Entrypoint from './glue.js';

const state = globalThis.__worker_init_state;

function handler(name) {
  const own = Entrypoint.prototype[name];
  return (event, env, ctx) => {
    if (state.criticalError) return new Entrypoint(ctx, env)[name](event);
    try {
      return own.call({ env, ctx }, event);
    } catch (error) {
      state.criticalError = true;
      throw error;
    }
  };
}

export default { fetch: handler('fetch'), queue: handler('queue'), scheduled: handler('scheduled') };
