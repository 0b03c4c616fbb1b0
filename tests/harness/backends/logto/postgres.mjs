// What PostgreSQL does to the values of Logto's users table on their way in, seen with a real one: lengths in
// characters, spaces beyond them cut off, and text that it cannot hold.

import { InternalError, RequestError } from './errors.mjs';

/** In the order in which the table has them: the first that is too long is the one that is told of. */
const columns = { username: 128, primaryEmail: 128, primaryPhone: 128, name: 128, avatar: 2048 };

const tooLong = (max) => new RequestError('entity.value_too_long', 422, { data: { message: `value too long for type character varying(${max})` } });

/** A lone surrogate becomes U+FFFD on the wire. Any value, also one that is only compared. */
export function storableText(value) {
  if (value.includes('\0')) throw new InternalError();
  return value.toWellFormed();
}

function varchar(value, max) {
  const characters = [...value];
  if (characters.length <= max) return value;
  if (characters.slice(max).some((character) => character !== ' ')) throw tooLong(max);
  return characters.slice(0, max).join('');
}

/** Throws for what jsonb has no place for. */
function assertJson(value) {
  if (typeof value === 'string') {
    if (value.includes('\0')) throw new InternalError();
    if (!value.isWellFormed()) throw new RequestError('entity.invalid_input', 422);
    return;
  }
  if (value === null || typeof value !== 'object') return;
  for (const [key, item] of Object.entries(value)) {
    assertJson(key);
    assertJson(item);
  }
}

/** `set` as the statement stores it: "" is null, what is undefined is not set. */
export function stored(set) {
  const result = {};
  for (const [key, value] of Object.entries(set)) if (value !== undefined) result[key] = value === '' ? null : value;
  // Values are read in before the statement runs, so these come first.
  for (const value of Object.values(result)) {
    if (typeof value === 'string') storableText(value);
    else assertJson(value);
  }
  for (const [key, max] of Object.entries(columns)) if (typeof result[key] === 'string') result[key] = varchar(storableText(result[key]), max);
  return result;
}
