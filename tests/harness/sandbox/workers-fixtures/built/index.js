// Laid out like a built Rust worker: an entry that imports a wasm module beside it.
import wasm from './index_bg.wasm';

const { exports } = new WebAssembly.Instance(wasm, {});

export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === '/add') return new Response(String(exports.add(2, 40)));
    const id = searchParams.get('id');
    const row = await env.STORE.prepare('SELECT text FROM notes WHERE id = ?').bind(id).first();
    return Response.json(row);
  },
  async queue(batch, env) {
    for (const message of batch.messages) {
      const { id, fail } = message.body;
      if (fail && batch.queue === 'sandbox-jobs') {
        message.retry();
        continue;
      }
      await env.STORE.prepare('INSERT INTO notes (id, text) VALUES (?, ?)')
        .bind(id, `${batch.queue} attempt ${message.attempts}`)
        .run();
    }
  },
};
