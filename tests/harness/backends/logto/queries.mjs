// Logto's own rules about users between a validated request and the table: what collides, what a number becomes, what
// merges, and by which answer a refused statement is told of.

import { ParseError, parsePhoneNumberWithError } from 'libphonenumber-js';
import { RequestError } from './errors.mjs';
import { jsonb, userResponse } from './users.mjs';
import { storableText, stored } from './postgres.mjs';
import { answered, userAnswer } from './schema.mjs';

const inUse = (kind) => new RequestError(`user.${kind}_already_in_use`, 422);

/** Digits alone, without a trunk prefix; `undefined` when the library knows no such number. */
function international(phone) {
  try {
    const { countryCallingCode, nationalNumber } = parsePhoneNumberWithError(phone.startsWith('+') ? phone : `+${phone}`);
    return { number: `${countryCallingCode}${nationalNumber}`, withZero: `${countryCallingCode}0${nationalNumber}` };
  } catch (error) {
    if (!(error instanceof ParseError)) throw error;
    return undefined;
  }
}

function normalised(set) {
  if (!set.primaryPhone) return set;
  try {
    parsePhoneNumberWithError(`+${set.primaryPhone}`);
  } catch (error) {
    throw new RequestError('user.invalid_phone', 422, { data: error });
  }
  return { ...set, primaryPhone: international(set.primaryPhone).number };
}

export function createQueries({ store, usernamePolicy }) {
  const isOther = (user, exceptId) => user !== undefined && user.id !== exceptId;
  const hasUser = (username, exceptId) => isOther(usernamePolicy.caseSensitive
    ? store.findByIdentifier({ type: 'username', value: storableText(username) })
    : store.findByFoldedUsername(storableText(username), exceptId), exceptId);
  const hasUserWithEmail = (email, exceptId) => isOther(store.findByIdentifier({ type: 'email', value: storableText(email) }), exceptId);
  const hasUserWithPhone = (phone, exceptId) => {
    const parsed = international(phone);
    const numbers = parsed ? [parsed.number, parsed.withZero] : [phone];
    return numbers.some((value) => isOther(store.findByIdentifier({ type: 'phone', value }), exceptId));
  };
  const hasUserWithIdentity = (target, userId, exceptId) => isOther(store.findByIdentity(target, storableText(userId)), exceptId);

  return {
    hasUserWithIdentity,

    /** In the order of POST /users. */
    assertNew({ username, primaryEmail, primaryPhone }) {
      if (username && hasUser(username)) throw inUse('username');
      if (primaryEmail && hasUserWithEmail(primaryEmail)) throw inUse('email');
      if (primaryPhone && hasUserWithPhone(primaryPhone)) throw inUse('phone');
    },

    /** In the order of everything else. */
    checkIdentifierCollision({ username, primaryEmail, primaryPhone, identity }, exceptId) {
      if (primaryEmail && hasUserWithEmail(primaryEmail, exceptId)) throw inUse('email');
      if (primaryPhone && hasUserWithPhone(primaryPhone, exceptId)) throw inUse('phone');
      if (username && hasUser(username, exceptId)) throw inUse('username');
      if (identity && hasUserWithIdentity(identity.target, identity.userId, exceptId)) throw inUse('identity');
    },

    insertUser: (data) => store.create(stored(normalised(data))),

    /** Objects are merged into what is there, one level deep, unless they replace it. */
    updateUserById(id, set, { replace = false } = {}) {
      const patch = stored(normalised(set));
      // The statement's list of columns must not be empty.
      if (Object.keys(patch).length === 0) throw new RequestError('entity.invalid_input', 422);
      const user = store.find(id);
      for (const [key, value] of Object.entries(patch)) {
        if (replace || value === null || typeof value !== 'object' || key === 'password') continue;
        patch[key] = jsonb({ ...user[key], ...value });
      }
      return store.update(id, patch);
    },
  };
}

/** The user as the Management API answers with it, after a write has been committed. */
export const shownUser = (user) => answered(userAnswer, userResponse(user));
