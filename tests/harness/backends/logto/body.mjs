// How Logto takes a request's body in, by the libraries that it uses itself (type-is 1.6.18 and co-body 6.1.0, as koa-body calls them):
// what counts as JSON, form or text, the limits, and that a type of none of them is a body of none.

import parseBody from 'co-body';
import typeIs from 'type-is';

const jsonTypes = ['application/json', 'application/json-patch+json', 'application/vnd.api+json', 'application/csp-report', 'application/reports+json'];
const limits = { json: '1mb', form: '56kb', text: '56kb' };

/** `undefined`: none that is read. Errors are the library's own; server.mjs answers as Logto does. */
export async function readBody(ctx) {
  if (!['POST', 'PUT', 'PATCH'].includes(ctx.method)) return undefined;
  const encoding = 'utf-8';
  if (typeIs(ctx.req, jsonTypes)) return parseBody.json(ctx, { encoding, limit: limits.json });
  if (typeIs(ctx.req, 'urlencoded')) return parseBody.form(ctx, { encoding, limit: limits.form });
  if (typeIs(ctx.req, 'text/*')) return parseBody.text(ctx, { encoding, limit: limits.text });
  return undefined;
}

/** What Logto says to a body that cannot be read. */
export function answerUnreadable(ctx, error) {
  if (typeof error.expose === 'boolean' && error.status === error.statusCode) {
    // Its error handler takes an HTTP error for answered already: what is left is the router's 404.
    ctx.status = 404;
    ctx.type = 'text/plain; charset=utf-8';
    ctx.body = 'Not Found';
    return;
  }
  ctx.status = error instanceof SyntaxError ? 400 : 500;
  ctx.body = { message: error instanceof SyntaxError ? error.message : 'Internal server error.' };
}
