// Body validation with the issues that zod 3 reports, members in the recorded order. Unknown members are dropped.
// Where zod would report a union (a value or null or ""), the issue of the value's own type is given: callers
// compare the code, and the recorded cases are plain ones.

import { RequestError } from './errors.mjs';

const typeOf = (value) => (value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value);
const wrongType = (expected, value, path) => (value === undefined
  ? { code: 'invalid_type', expected, received: 'undefined', path, message: 'Required' }
  : { code: 'invalid_type', expected, received: typeOf(value), path, message: `Expected ${expected}, received ${typeOf(value)}` });

export const text = ({ regex, min, max, url } = {}) => (value, path) => {
  if (typeof value !== 'string') return [wrongType('string', value, path)];
  if (regex && !regex.test(value)) return [{ validation: 'regex', code: 'invalid_string', message: 'Invalid', path }];
  if (url && !URL.canParse(value)) return [{ validation: 'url', code: 'invalid_string', message: 'Invalid url', path }];
  if (min !== undefined && value.length < min) {
    return [{ code: 'too_small', minimum: min, type: 'string', inclusive: true, exact: false, message: `String must contain at least ${min} character(s)`, path }];
  }
  if (max !== undefined && value.length > max) {
    return [{ code: 'too_big', maximum: max, type: 'string', inclusive: true, exact: false, message: `String must contain at most ${max} character(s)`, path }];
  }
  return [];
};

export const flag = () => (value, path) => (typeof value === 'boolean' ? [] : [wrongType('boolean', value, path)]);
export const record = () => (value, path) => (typeOf(value) === 'object' ? [] : [wrongType('object', value, path)]);
export const list = (item) => (value, path) => (Array.isArray(value)
  ? value.flatMap((entry, index) => item(entry, [...path, index]))
  : [wrongType('array', value, path)]);

export const oneOf = (...options) => (value, path) => {
  if (typeof value !== 'string') return [wrongType(options.map((option) => `'${option}'`).join(' | '), value, path)];
  if (options.includes(value)) return [];
  return [{
    received: value, code: 'invalid_enum_value', options, path,
    message: `Invalid enum value. Expected ${options.map((option) => `'${option}'`).join(' | ')}, received '${value}'`,
  }];
};

export const object = (shape) => (value, path) => (typeOf(value) === 'object'
  ? Object.entries(shape).flatMap(([key, check]) => check(value[key], [...path, key]))
  : [wrongType('object', value, path)]);

export const optional = (check) => (value, path) => (value === undefined ? [] : check(value, path));
/** Null and "" clear a column. */
export const clearable = (check) => (value, path) => (value === undefined || value === null || value === '' ? [] : check(value, path));

/** Returns the known members of the body, or throws guard.invalid_input. */
export function parse(shape, body) {
  const issues = object(shape)(body ?? {}, []);
  if (issues.length > 0) {
    throw new RequestError('guard.invalid_input', 400, {
      data: { issues, name: 'ZodError' },
      details: issues.map(({ path, code, message }) => `Error in key path "${path.join('.')}": (${code}) ${message}`).join('\n'),
    });
  }
  const known = {};
  for (const key of Object.keys(shape)) if (body?.[key] !== undefined) known[key] = body[key];
  return known;
}

export const patterns = {
  username: /^[A-Z_a-z]\w*$/,
  email: /^\S+@\S+\.\S+$/,
  phone: /^\d+$/,
};

const profileText = optional(text());
export const profileShape = {
  familyName: profileText, givenName: profileText, middleName: profileText, nickname: profileText, preferredUsername: profileText,
  profile: profileText, website: profileText, gender: profileText, birthdate: profileText, zoneinfo: profileText, locale: profileText,
  address: optional(object({
    formatted: profileText, streetAddress: profileText, locality: profileText, region: profileText, postalCode: profileText, country: profileText,
  })),
};
