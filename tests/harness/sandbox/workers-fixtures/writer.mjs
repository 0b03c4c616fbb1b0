// A plain JS worker in several files, with a named entrypoint of its own.
import { WorkerEntrypoint } from 'cloudflare:workers';
import { describe } from './writer-text.mjs';

let requests = 0;

export default {
  async fetch(request, env) {
    requests += 1;
    const { pathname, searchParams } = new URL(request.url);
    switch (pathname) {
      case '/write':
        await env.DB.prepare('INSERT INTO notes (id, text) VALUES (?, ?)')
          .bind(searchParams.get('id'), searchParams.get('text'))
          .run();
        return new Response('written');
      case '/stage':
        return new Response(await env.FLAGS.get('stage'));
      case '/send':
        await env.JOBS.send({ id: searchParams.get('id'), fail: searchParams.has('fail') });
        return new Response('sent');
      case '/log':
        console.log(JSON.stringify({ event: 'request.done', note: 'ä "quoted"' }));
        console.error('plain error line');
        return new Response('logged');
      case '/vars':
        return Response.json({ colour: env.COLOUR, shape: env.SHAPE, host: request.headers.get('host') });
      default:
        return new Response(describe(pathname), { status: 404 });
    }
  },
  async scheduled(controller, env) {
    await env.FLAGS.put('cron', controller.cron);
  },
};

export class Control extends WorkerEntrypoint {
  fetch() {
    // The same isolate as the default entrypoint, so it sees its globals.
    return new Response(`requests ${requests}`);
  }
}
