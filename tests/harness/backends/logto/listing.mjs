// Pages and searches.

import { RequestError } from './errors.mjs';
import { originOf } from './interaction.mjs';

function positive(value, fallback) {
  if (value === undefined) return fallback;
  const number = Number(value);
  if (!Number.isInteger(number) || number < 1) throw new RequestError('guard.invalid_pagination', 400);
  return number;
}

/** `finish(total)` sets Total-Number and Link. */
export function paginate(ctx) {
  const page = positive(ctx.query.page, 1);
  const limit = positive(ctx.query.page_size, 20);
  if (limit > 100) throw new RequestError('guard.invalid_pagination', 400);
  return {
    offset: (page - 1) * limit,
    limit,
    finish(total) {
      const last = Math.ceil(total / limit) || 1;
      // The mount prefix is missing in these URLs on the real server too: do not follow them.
      const link = (number, rel) => `<${originOf(ctx)}${ctx.state.apiPath}?${new URLSearchParams({ ...ctx.query, page: number })}>; rel="${rel}"`;
      const links = [link(1, 'first'), link(last, 'last')];
      if (page > 1) links.push(link(page - 1, 'prev'));
      if (page < last) links.push(link(page + 1, 'next'));
      ctx.set('total-number', String(total));
      ctx.set('link', links.join(', '));
    },
  };
}

const fields = ['id', 'primaryEmail', 'primaryPhone', 'username', 'name'];

/** SQL LIKE: % is any text, _ any character. */
function like(pattern, caseSensitive) {
  const source = [...pattern].map((char) => (char === '%' ? '.*' : char === '_' ? '.' : char.replace(/[.*+?^${}()|[\]\\]/, '\\$&'))).join('');
  return new RegExp(`^${source}$`, caseSensitive ? 's' : 'si');
}

function matcher(mode, value, caseSensitive) {
  switch (mode) {
    case 'exact': {
      const fold = (text) => (caseSensitive ? text : text.toLowerCase());
      return (text) => fold(text) === fold(value);
    }
    case 'posix': {
      const regex = new RegExp(value, caseSensitive ? '' : 'i');
      return (text) => regex.test(text);
    }
    // SIMILAR TO is taken as LIKE: alternation and repetition are not supported here.
    case 'like':
    case 'similar_to': {
      const regex = like(value, caseSensitive);
      return (text) => regex.test(text);
    }
    default:
      throw new RequestError('guard.invalid_input', 400);
  }
}

/** A predicate over users, or undefined without search parameters. */
export function userFilter(ctx, store) {
  const { query } = ctx;
  const keys = Object.keys(query).filter((key) => key === 'search' || key.startsWith('search.'));
  if (keys.length === 0) return undefined;
  const caseSensitive = query.isCaseSensitive === 'true';
  const tests = [];
  for (const key of keys) {
    const field = key === 'search' ? undefined : key.slice('search.'.length);
    if (field !== undefined && !fields.includes(field)) throw new RequestError('guard.invalid_input', 400);
    const mode = query[field === undefined ? 'mode' : `mode.${field}`] ?? 'like';
    for (const value of [query[key]].flat()) {
      const test = matcher(mode, value, caseSensitive);
      const inFields = field === undefined ? fields : [field];
      tests.push({ field, mode, value, test: (user) => inFields.some((name) => user[name] !== null && test(user[name])) });
    }
  }
  // One exact identifier is what a proxy asks for most; no need to walk 100,000 rows for it.
  if (tests.length === 1 && tests[0].mode === 'exact') {
    const [{ field, value, test }] = tests;
    const type = { primaryEmail: 'email', primaryPhone: 'phone' }[field] ?? (field === 'username' && caseSensitive ? 'username' : undefined);
    if (type || field === 'id') {
      const user = field === 'id' ? store.get(value) : store.findByIdentifier({ type, value });
      const hit = user && test(user) ? user : undefined;
      return Object.assign((candidate) => candidate === hit, { only: hit ? [hit] : [] });
    }
  }
  return query.joint === 'and' ? (user) => tests.every(({ test }) => test(user)) : (user) => tests.some(({ test }) => test(user));
}
