// The Worker's module: a plain object over what wasm-bindgen makes (./glue.js is its output).
// After a fault inside wasm the next event begins with a new instance.
import * as wasm from './glue.js';

// A panic in Rust says where it came from.
Error.stackTraceLimit = 100;

// The SDK's own note: a panic sets criticalError.
const state = wasm.__worker_init_state();

// A trap behind an `await` surfaces here and not at the call below.
addEventListener('error', ({ error }) => {
  if (!(error instanceof WebAssembly.RuntimeError)) return;
  console.error('Critical', error);
  state.criticalError = true;
});

function handler(call) {
  return (event, env, ctx) => {
    if (state.criticalError) {
      wasm.__wbg_reset_state();
      state.criticalError = false;
    }
    try {
      return call(event, env, ctx);
    } catch (error) {
      state.criticalError = true;
      throw error;
    }
  };
}

export default { fetch: handler(wasm.fetch), queue: handler(wasm.queue), scheduled: handler(wasm.scheduled) };
