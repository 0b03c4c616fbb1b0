// The HTTP side: request ids, compression, ETags, CORS, and who serves which path.

import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import Koa from 'koa';
import { answerUnreadable, readBody } from './body.mjs';
import { InternalError, RequestError, randomToken } from './errors.mjs';
import { servePages } from './interaction.mjs';

const encoders = {
  br: (body) => promisify(zlib.brotliCompress)(body, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } }),
  gzip: promisify(zlib.gzip),
  deflate: promisify(zlib.deflate),
};
const compressible = /^(application\/(.+\+)?json|text\/)/;

/** Strong, over the JSON text of the body; a text body is JSON text too, quotes included. */
export function bodyEtag(body) {
  const bytes = Buffer.from(JSON.stringify(body));
  return `"${bytes.length.toString(16)}-${createHash('sha1').update(bytes).digest('base64').slice(0, 27)}"`;
}

function setEtag(ctx) {
  if (ctx.method !== 'GET' || ctx.body === undefined || ctx.body === null) return;
  ctx.set('etag', bodyEtag(ctx.body));
  if (ctx.fresh) {
    ctx.status = 304;
    ctx.body = null;
  }
}

/** The client's weights decide; among equals br comes before gzip before deflate, whatever order they are listed in. */
function bestEncoding(header) {
  const weights = new Map(header.toLowerCase().split(',').map((part) => {
    const [name, ...parameters] = part.split(';').map((piece) => piece.trim());
    const q = parameters.find((parameter) => parameter.startsWith('q='));
    return [name, q === undefined ? 1 : Number(q.slice(2))];
  }));
  const weight = (name) => weights.get(name) ?? weights.get('*') ?? 0;
  let best;
  for (const name of Object.keys(encoders)) if (weight(name) > (best === undefined ? 0 : weight(best))) best = name;
  return best;
}

async function compress(ctx, next) {
  ctx.vary('Accept-Encoding');
  await next();
  const { body } = ctx;
  if (body === undefined || body === null || ctx.method === 'HEAD' || !compressible.test(ctx.type)) return;
  const bytes = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  if (bytes.length < 1024) return;
  const encoding = bestEncoding(ctx.get('Accept-Encoding'));
  if (encoding === undefined) return;
  const { type, headers } = ctx.response;
  const contentType = headers['content-type'] ?? type;
  ctx.body = await encoders[encoding](bytes);
  ctx.set('content-type', contentType);
  ctx.set('content-encoding', encoding);
}

/** Account surfaces echo any origin; the others know only the operator's own consoles, which the stand-in has not. */
function cors(ctx, areas) {
  ctx.vary('Origin');
  if (!areas.has('account')) return false;
  const origin = ctx.get('Origin') || '*';
  ctx.set('access-control-allow-origin', origin);
  if (ctx.method !== 'OPTIONS' || !ctx.get('Access-Control-Request-Method')) {
    ctx.set('access-control-expose-headers', '*');
    return false;
  }
  ctx.set('access-control-allow-methods', 'GET,HEAD,PUT,POST,DELETE,PATCH');
  const headers = ctx.get('Access-Control-Request-Headers');
  if (headers) ctx.set('access-control-allow-headers', headers);
  ctx.status = 204;
  return true;
}

async function hasReadBody(ctx) {
  try {
    ctx.request.body = await readBody(ctx);
    return true;
  } catch (error) {
    answerUnreadable(ctx, error);
    return false;
  }
}

async function serveApi({ router, guards, webhooks }, ctx) {
  const path = ctx.path.slice(4) || '/';
  const found = router.match(ctx.method, path);
  if (!found) {
    const { methods, areas } = router.allowed(path);
    if (cors(ctx, areas)) return;
    if (methods.length > 0) {
      ctx.set('allow', methods.join(', '));
      ctx.status = ctx.method === 'OPTIONS' ? 200 : 405;
      ctx.type = 'text/plain; charset=utf-8';
      ctx.body = ctx.method === 'OPTIONS' ? '' : 'Method Not Allowed';
      return;
    }
    // A routing 404 is plain text; an entity 404 is JSON.
    ctx.status = 404;
    ctx.type = 'text/plain; charset=utf-8';
    ctx.body = 'Not Found';
    return;
  }
  const { route, params } = found;
  ctx.params = params;
  ctx.state.apiPath = path;
  ctx.state.matchedRoute = route.path;
  ctx.state.hooks = [];
  cors(ctx, new Set([route.options.area]));
  try {
    // Whoever may not, is told so before anything of the body is looked at.
    await guards[route.options.area]?.(ctx);
    if (await hasReadBody(ctx)) {
      await route.handler(ctx);
      setEtag(ctx);
    }
  } catch (error) {
    if (!(error instanceof RequestError || error instanceof InternalError)) throw error;
    ctx.status = error.status;
    ctx.body = error.body;
  }
  // After the answer, whether or not the client still wants it.
  if (ctx.state.hooks.length > 0) {
    const payloads = ctx.state.hooks.map((make) => make());
    setImmediate(() => payloads.forEach((payload) => webhooks.trigger(payload)));
  }
}

async function serveOidc(oidc, ctx) {
  const { path } = ctx;
  ctx.mountPath = '/oidc';
  ctx.path = path.slice(5) || '/';
  await oidc.handle(ctx);
  ctx.path = path;
  // The ETag is taken before Logto adds its members to an error, as the recorded values show.
  setEtag(ctx);
  oidc.decorateError(ctx);
}

const mounted = (path, prefix) => path === prefix || path.startsWith(`${prefix}/`);

export function createApp(context) {
  const { oidc, trustProxyHeader } = context;
  const app = new Koa();
  app.proxy = trustProxyHeader;
  app.keys = oidc.provider.keys;
  app.on('error', (error) => { if (!error.expose && error.code !== 'EPIPE' && error.code !== 'ECONNRESET') console.error(error); });
  app.use(async (ctx, next) => {
    ctx.set('logto-core-request-id', randomToken(16));
    await next();
  });
  app.use(compress);
  app.use((ctx) => {
    if (mounted(ctx.path, '/oidc')) return serveOidc(oidc, ctx);
    if (mounted(ctx.path, '/api')) return serveApi(context, ctx);
    return servePages(context, ctx);
  });
  return app;
}
