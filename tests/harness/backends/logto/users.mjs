// The users table, with the unique indices of the real one, and the forms in which a user leaves it.
// A row is never changed in place, so whoever holds one (a webhook on its way) holds that moment's state.

import { RequestError, randomId } from './errors.mjs';
import { openTables } from './tables.mjs';

const profileKeys = [
  'familyName', 'givenName', 'middleName', 'nickname', 'preferredUsername', 'profile', 'website', 'gender', 'birthdate',
  'zoneinfo', 'locale', 'address',
];
const addressKeys = ['formatted', 'streetAddress', 'locality', 'region', 'postalCode', 'country'];

const inOrder = (value, keys) => {
  const result = {};
  for (const key of keys) if (value[key] !== undefined) result[key] = value[key];
  return result;
};

/** Unknown members are dropped; the known ones come in schema order whatever order they were sent in. */
export function orderProfile(profile) {
  const result = inOrder(profile, profileKeys);
  if (result.address && typeof result.address === 'object') result.address = inOrder(result.address, addressKeys);
  return result;
}

/** PostgreSQL's jsonb orders members by byte length, then bytes; JavaScript then moves integer-like ones to the front. */
export function jsonb(value) {
  if (Array.isArray(value)) return value.map(jsonb);
  if (value === null || typeof value !== 'object') return value;
  const keys = Object.keys(value);
  if (keys.length > 1) {
    const bytes = new Map(keys.map((key) => [key, Buffer.from(key)]));
    keys.sort((a, b) => bytes.get(a).length - bytes.get(b).length || Buffer.compare(bytes.get(a), bytes.get(b)));
  }
  const result = {};
  for (const key of keys) {
    Object.defineProperty(result, key, { value: jsonb(value[key]), enumerable: true, writable: true, configurable: true });
  }
  return result;
}

/** Without hasPassword: the form of interaction events, of Account API events and of User.Deleted. */
export const userInfo = (user) => ({
  id: user.id,
  username: user.username,
  primaryEmail: user.primaryEmail,
  primaryPhone: user.primaryPhone,
  name: user.name,
  avatar: user.avatar,
  customData: user.customData,
  identities: user.identities,
  lastSignInAt: user.lastSignInAt,
  createdAt: user.createdAt,
  updatedAt: user.updatedAt,
  profile: user.profile,
  applicationId: user.applicationId,
  isSuspended: user.isSuspended,
});
export const userResponse = (user) => ({ ...userInfo(user), hasPassword: user.password !== null });
/** As GET /api/users/:id/mfa-verifications tells of them: never a secret. */
export const mfaResponse = (user) => (user.mfaVerifications ?? []).map(({ id, createdAt, type, agent, name, remainCodes }) => ({
  id, createdAt: new Date(createdAt).toISOString(), type, ...(agent && { agent }), ...(name && { name }), ...(remainCodes !== undefined && { remainCodes }),
}));
export const ssoIdentities = (user) => (user.ssoIdentities ?? []).map((identity) => ({ tenantId: 'default', userId: user.id, ...identity }));
export const digests = (user) => ({ passwordDigest: user.password?.digest ?? null, passwordAlgorithm: user.password?.algorithm ?? null });

const identityKey = (target, userId) => JSON.stringify([target, userId]);

export class UserStore {
  #byId;
  #byUsername = new Map();
  #byEmail = new Map();
  #byPhone = new Map();
  #byIdentity = new Map();
  // Oldest first; created_at rises by itself, so only imported dates make a sort necessary.
  #rows = [];
  #sorted = true;
  #turn = 0;

  /** Rows of one created_at come in another order each time: the real statement has no tie-breaker. */
  shufflesTies = false;

  constructor(tables = openTables()) {
    this.#byId = tables.open('users');
    for (const user of this.#byId.values()) this.#enter(user);
  }

  get size() { return this.#byId.size; }
  get(id) { return this.#byId.get(id); }
  find(id) {
    const user = this.#byId.get(id);
    if (!user) throw new RequestError('entity.not_found', 404);
    return user;
  }
  findByIdentifier({ type, value }) {
    switch (type) {
      case 'username': return this.#byUsername.get(value);
      case 'email': return this.#byEmail.get(value.toLowerCase());
      case 'phone': return this.#byPhone.get(value);
      default: return undefined;
    }
  }
  /** No index: few tenants compare usernames without their case. */
  findByFoldedUsername(username, exceptId) {
    const folded = username.toLowerCase();
    for (const user of this.#byId.values()) if (user.id !== exceptId && user.username?.toLowerCase() === folded) return user;
    return undefined;
  }
  findByIdentity(target, userId) { return this.#byIdentity.get(identityKey(target, userId)); }
  values() { return this.#byId.values(); }

  /** In the order in which Logto checks, so that a body with two collisions gets the same code. */
  assertFree({ username, primaryEmail, primaryPhone, identities }, exceptId) {
    const taken = (user) => user !== undefined && user.id !== exceptId;
    if (username && taken(this.#byUsername.get(username))) throw new RequestError('user.username_already_in_use', 422);
    if (primaryEmail && taken(this.#byEmail.get(primaryEmail.toLowerCase()))) throw new RequestError('user.email_already_in_use', 422);
    if (primaryPhone && taken(this.#byPhone.get(primaryPhone))) throw new RequestError('user.phone_already_in_use', 422);
    for (const [target, { userId }] of Object.entries(identities ?? {})) {
      if (taken(this.findByIdentity(target, userId))) throw new RequestError('user.identity_already_in_use', 422);
    }
  }

  #index(user, old) {
    const move = (map, key, oldKey) => {
      if (key === oldKey) { if (key !== undefined) map.set(key, user); return; }
      if (oldKey !== undefined) map.delete(oldKey);
      if (key !== undefined) map.set(key, user);
    };
    move(this.#byUsername, user?.username ?? undefined, old?.username ?? undefined);
    move(this.#byEmail, user?.primaryEmail?.toLowerCase(), old?.primaryEmail?.toLowerCase());
    move(this.#byPhone, user?.primaryPhone ?? undefined, old?.primaryPhone ?? undefined);
    if (old) for (const [target, { userId }] of Object.entries(old.identities)) this.#byIdentity.delete(identityKey(target, userId));
    if (user) for (const [target, { userId }] of Object.entries(user.identities)) this.#byIdentity.set(identityKey(target, userId), user);
  }

  /** `id`, dates, digest, second factors and SSO identities are for seeding; the API never passes them. */
  create({
    id = this.freeId(), username = null, primaryEmail = null, primaryPhone = null, name = null, avatar = null,
    customData = {}, identities = {}, profile = {}, password = null, isSuspended = false, applicationId = null,
    lastSignInAt = null, createdAt = Date.now(), updatedAt = createdAt, ssoIdentities, mfaVerifications,
  } = {}) {
    const user = {
      id, username, primaryEmail, primaryPhone, name, avatar, customData: jsonb(customData), identities: jsonb(identities),
      lastSignInAt, createdAt, updatedAt, profile: orderProfile(profile), applicationId, isSuspended, password,
      // Few have any: absent, they cost nothing.
      ...(ssoIdentities && { ssoIdentities }), ...(mfaVerifications && { mfaVerifications }),
    };
    if (this.#byId.has(id)) throw new TypeError(`the id ${id} is taken`);
    this.assertFree(user);
    this.#byId.set(id, user);
    this.#enter(user);
    return user;
  }

  #enter(user) {
    this.#index(user, undefined);
    const last = this.#rows.at(-1);
    if (last && last.createdAt > user.createdAt) this.#sorted = false;
    this.#rows.push({ id: user.id, createdAt: user.createdAt });
  }

  freeId() {
    for (;;) {
      const id = randomId(12);
      if (!this.#byId.has(id)) return id;
    }
  }

  /** A trigger of the real table sets updated_at on every update, of whatever column. */
  update(id, patch) {
    const old = this.find(id);
    const user = { ...old, ...patch, updatedAt: Date.now() };
    if (patch.customData) user.customData = jsonb(patch.customData);
    if (patch.identities) user.identities = jsonb(patch.identities);
    if (patch.profile) user.profile = orderProfile(patch.profile);
    this.assertFree(user, id);
    this.#byId.set(id, user);
    this.#index(user, old);
    return user;
  }

  delete(id) {
    const user = this.find(id);
    this.#byId.delete(id);
    this.#index(undefined, user);
    const at = this.#position(user);
    if (at !== -1) this.#rows.splice(at, 1);
    return user;
  }

  #sort() {
    if (this.#sorted) return;
    this.#rows.sort((a, b) => a.createdAt - b.createdAt);
    this.#sorted = true;
  }

  /** Where rows of this moment begin, oldest first. */
  #lowerBound(createdAt) {
    let low = 0;
    let high = this.#rows.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#rows[middle].createdAt < createdAt) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #position({ id, createdAt }) {
    this.#sort();
    let low = this.#lowerBound(createdAt);
    while (low < this.#rows.length && this.#rows[low].id !== id) low += 1;
    return low < this.#rows.length ? low : -1;
  }

  /** The rows of these positions, newest first, at a cost that does not grow with depth. */
  #slice(offset, limit) {
    const rows = [];
    const last = this.#rows.length - 1;
    this.#turn += 1;
    for (let i = last - offset; i >= 0 && rows.length < limit; i -= 1) {
      let at = i;
      if (this.shufflesTies) {
        const { createdAt } = this.#rows[i];
        const from = this.#lowerBound(createdAt);
        const size = this.#lowerBound(createdAt + 1) - from;
        at = from + ((i - from + this.#turn * 7) % size);
      }
      rows.push(this.#rows[at]);
    }
    return rows;
  }

  /** Newest first; `filter` is a predicate over users, with the answer in `only` when an index knows it already. */
  page(offset, limit, filter) {
    if (filter?.only) return { total: filter.only.length, users: filter.only.slice(offset, offset + limit) };
    this.#sort();
    if (!filter) return { total: this.#rows.length, users: this.#slice(offset, limit).map(({ id }) => this.#byId.get(id)) };
    const users = [];
    let total = 0;
    for (let i = this.#rows.length - 1; i >= 0; i -= 1) {
      const user = this.#byId.get(this.#rows[i].id);
      if (!filter(user)) continue;
      if (total >= offset && users.length < limit) users.push(user);
      total += 1;
    }
    return { total, users };
  }
}
