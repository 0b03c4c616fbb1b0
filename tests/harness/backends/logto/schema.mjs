// Body validation by the library that Logto itself uses, in its version (zod 3.24.3), so that issues, their members and
// their order are the real ones. Unknown members are dropped.

import { z } from 'zod';
import { InternalError, RequestError } from './errors.mjs';

/** Checks run in this order, whatever order they are named in. */
export const text = ({ regex, url, min, max } = {}) => {
  let check = z.string();
  if (regex !== undefined) check = check.regex(regex);
  if (url) check = check.url();
  if (min !== undefined) check = check.min(min);
  if (max !== undefined) check = check.max(max);
  return check;
};

const json = z.lazy(() => z.union([z.union([z.string(), z.number(), z.boolean(), z.null()]), z.array(json), z.record(json)]));

export const flag = () => z.boolean();
/** An object of JSON. */
export const record = () => z.record(json);
export const list = (item) => z.array(item);
export const oneOf = (...options) => z.nativeEnum(Object.fromEntries(options.map((option) => [option, option])));
export const object = (shape) => z.object(shape);
export const optional = (check) => check.optional();
export const nullable = (check) => check.nullable();
/** Null and "" clear a column. */
export const clearable = (check) => check.or(z.literal('')).nullable().optional();

/** As Logto's error names the issues for people. */
const describe = ({ issues }) => issues.map((issue) => {
  const base = `Error in key path "${issue.path.map(String).join('.')}": (${issue.code}) `;
  return base + (issue.code === 'invalid_type' ? `Expected ${issue.expected} but received ${issue.received}.` : issue.message);
}).join('\n');

/** Returns the known members of the body, or throws guard.invalid_input. */
export function parse(shape, body) {
  const result = (shape instanceof z.ZodType ? shape : z.object(shape)).safeParse(body ?? {});
  if (result.success) return result.data;
  throw new RequestError('guard.invalid_input', 400, { data: result.error, details: describe(result.error) });
}

export const patterns = {
  username: /^[A-Z_a-z]\w*$/,
  email: /^\S+@\S+\.\S+$/,
  phone: /^\d+$/,
};

const profileText = optional(text());
const addressShape = {
  formatted: profileText, streetAddress: profileText, locality: profileText, region: profileText, postalCode: profileText, country: profileText,
};
export const profileShape = {
  familyName: profileText, givenName: profileText, middleName: profileText, nickname: profileText, preferredUsername: profileText,
  profile: profileText, website: profileText, gender: profileText, birthdate: profileText, zoneinfo: profileText, locale: profileText,
  address: optional(object(addressShape)),
};
export const identityShape = { userId: text(), details: optional(record()) };

/** The table's own idea of a user, by which each answer passes before it leaves: an answer beyond it is a 500. */
const column = (max) => nullable(text({ max }));
const time = nullable(z.number());
const userShape = {
  id: text({ min: 1, max: 12 }),
  username: column(128), primaryEmail: column(128), primaryPhone: column(128), name: column(128), avatar: column(2048),
  customData: record(), identities: z.record(object(identityShape)),
  lastSignInAt: time, createdAt: z.number(), updatedAt: z.number(), profile: object(profileShape), applicationId: column(21),
  isSuspended: flag(), hasPassword: optional(flag()), hasSecurityVerificationMethod: optional(flag()),
};
export const userAnswer = object(userShape);
/** What the Account API shows: what scopes and fields allow. */
export const accountAnswer = userAnswer.partial();
export const profileAnswer = object(profileShape);
export const customDataAnswer = record();
export const identitiesAnswer = z.record(object(identityShape));

/** An answer to what is done already: one that does not pass is a 500 all the same. */
export function answered(schema, body) {
  const result = schema.safeParse(body);
  if (!result.success) throw new InternalError();
  return result.data;
}
