// The Management API on users.

import { createLocalJWKSet, jwtVerify } from 'jose';
import { socialIdentity } from './connector.mjs';
import { RequestError, bearerToken } from './errors.mjs';
import { hashPassword, verifyPassword } from './passwords.mjs';
import { clearable, flag, list, object, oneOf, optional, parse, patterns, profileShape, record, text } from './schema.mjs';
import { MANAGEMENT_RESOURCE } from './seed.mjs';
import { paginate, userFilter } from './listing.mjs';
import { digests, mfaResponse, ssoIdentities, userInfo, userResponse } from './users.mjs';
import { managementEvent } from './webhooks.mjs';

const area = { area: 'management' };
const algorithms = ['Argon2i', 'Argon2id', 'Argon2d', 'SHA1', 'SHA256', 'MD5', 'Bcrypt', 'Legacy'];

const writable = (wrap) => ({
  primaryEmail: wrap(text({ regex: patterns.email, max: 128 })),
  primaryPhone: wrap(text({ regex: patterns.phone, max: 128 })),
  username: wrap(text({ regex: patterns.username, max: 128 })),
  name: wrap(text({ max: 128 })),
  avatar: wrap(text({ url: true, max: 2048 })),
  customData: optional(record()),
  profile: optional(object(profileShape)),
});
const createSchema = {
  ...writable((check) => optional(check)),
  password: optional(text({ min: 1 })),
  passwordDigest: optional(text({ max: 256 })),
  passwordAlgorithm: optional(oneOf(...algorithms)),
};

/** Switches in queries. */
const yes = (value) => ['y', 'yes', 'true', '1'].includes(String(value).toLowerCase());

/** An empty string clears a column like null. */
const emptyToNull = (body) => Object.fromEntries(Object.entries(body).map(([key, value]) => [key, value === '' ? null : value]));

export function managementGuard(oidc) {
  const publicKeys = oidc.keys.map(({ kty, kid, alg, use, crv, x, y, n, e }) => ({ kty, kid, alg, use, crv, x, y, n, e }));
  const keySet = createLocalJWKSet({ keys: publicKeys });
  // A signature check costs more than the rest of a request; under load the same token comes thousands of times.
  const verified = new Map();

  async function verify(token) {
    const known = verified.get(token);
    if (known && known.exp > Date.now() / 1000) return known;
    const { payload } = await jwtVerify(token, keySet, { issuer: oidc.issuer, audience: MANAGEMENT_RESOURCE });
    if (verified.size > 1_000) verified.clear();
    verified.set(token, payload);
    return payload;
  }

  return async (ctx) => {
    const token = bearerToken(ctx);
    let payload;
    try {
      payload = await verify(token);
    } catch (error) {
      throw new RequestError('auth.unauthorized', 401, { data: { ...error } });
    }
    if (!String(payload.scope ?? '').split(' ').includes('all')) throw new RequestError('auth.forbidden', 403);
    ctx.state.auth = payload;
  };
}

export function addManagementRoutes(router, context) {
  const { store, oidcStore, roles } = context;
  const event = (ctx, name, data) => ctx.state.hooks.push(() => managementEvent(ctx, name, data));
  const user = (ctx) => store.find(ctx.params.userId);

  router.add('POST', '/users', area, (ctx) => {
    const { password, passwordDigest, passwordAlgorithm, ...fields } = parse(createSchema, ctx.request.body);
    if (password !== undefined && passwordDigest !== undefined) throw new RequestError('guard.invalid_input', 400);
    if (passwordDigest !== undefined && passwordAlgorithm === undefined) throw new RequestError('guard.invalid_input', 400);
    store.assertFree(fields);
    const stored = password !== undefined ? hashPassword(password)
      : passwordDigest !== undefined ? { digest: passwordDigest, algorithm: passwordAlgorithm } : null;
    ctx.body = userResponse(store.create({ ...fields, password: stored }));
    event(ctx, 'User.Created', ctx.body);
  });

  router.add('GET', '/users', area, (ctx) => {
    const { offset, limit, finish } = paginate(ctx);
    const { total, users } = store.page(offset, limit, userFilter(ctx, store));
    finish(total);
    const withHash = yes(ctx.query.includePasswordHash);
    ctx.body = users.map((row) => ({ ...userResponse(row), ...(withHash ? digests(row) : {}) }));
  });

  router.add('GET', '/users/:userId', area, (ctx) => {
    const row = user(ctx);
    ctx.body = {
      ...userResponse(row),
      ...(yes(ctx.query.includeSsoIdentities) ? { ssoIdentities: ssoIdentities(row) } : {}),
      ...(yes(ctx.query.includePasswordHash) ? digests(row) : {}),
    };
  });

  router.add('PATCH', '/users/:userId', area, (ctx) => {
    const fields = emptyToNull(parse(writable(clearable), ctx.request.body));
    const { id } = user(ctx);
    ctx.body = userResponse(store.update(id, fields));
    event(ctx, 'User.Data.Updated', ctx.body);
  });

  router.add('DELETE', '/users/:userId', area, (ctx) => {
    const row = user(ctx);
    oidcStore.signOutUser(row.id);
    store.delete(row.id);
    roles.forget(row.id);
    ctx.status = 204;
    event(ctx, 'User.Deleted', userInfo(row));
  });

  router.add('GET', '/users/:userId/custom-data', area, (ctx) => { ctx.body = user(ctx).customData; });
  router.add('PATCH', '/users/:userId/custom-data', area, (ctx) => {
    const { customData } = parse({ customData: record() }, ctx.request.body);
    const row = user(ctx);
    ctx.body = store.update(row.id, { customData: { ...row.customData, ...customData } }).customData;
    event(ctx, 'User.Data.Updated', ctx.body);
  });

  router.add('PATCH', '/users/:userId/profile', area, (ctx) => {
    const { profile } = parse({ profile: object(profileShape) }, ctx.request.body);
    const row = user(ctx);
    ctx.body = store.update(row.id, { profile: { ...row.profile, ...profile } }).profile;
    event(ctx, 'User.Data.Updated', ctx.body);
  });

  router.add('PATCH', '/users/:userId/password', area, (ctx) => {
    const { password } = parse({ password: text({ min: 1 }) }, ctx.request.body);
    const { id } = user(ctx);
    ctx.body = userResponse(store.update(id, { password: hashPassword(password) }));
    event(ctx, 'User.Data.Updated', ctx.body);
  });

  router.add('POST', '/users/:userId/password/verify', area, (ctx) => {
    const { password } = parse({ password: text({ min: 1 }) }, ctx.request.body);
    const row = user(ctx);
    if (!verifyPassword(password, row.password)) throw new RequestError('session.invalid_credentials', 422);
    if (row.password.algorithm !== 'Argon2i') store.update(row.id, { password: hashPassword(password) });
    ctx.status = 204;
  });

  router.add('GET', '/users/:userId/has-password', area, (ctx) => { ctx.body = { hasPassword: user(ctx).password !== null }; });

  router.add('PATCH', '/users/:userId/is-suspended', area, (ctx) => {
    const { isSuspended } = parse({ isSuspended: flag() }, ctx.request.body);
    const { id } = user(ctx);
    const row = store.update(id, { isSuspended });
    if (isSuspended) oidcStore.signOutUser(id);
    ctx.body = userResponse(row);
    event(ctx, 'User.SuspensionStatus.Updated', ctx.body);
  });

  // Social identities change silently: no webhook tells of them.
  router.add('PUT', '/users/:userId/identities/:target', area, (ctx) => {
    const body = parse({ userId: text({ min: 1 }), details: optional(record()) }, ctx.request.body);
    const row = user(ctx);
    const { target } = ctx.params;
    const isNew = !Object.hasOwn(row.identities, target);
    const identity = { userId: body.userId, ...(body.details === undefined ? {} : { details: body.details }) };
    const { identities } = store.update(row.id, { identities: { ...row.identities, [target]: identity } });
    ctx.status = isNew ? 201 : 200;
    ctx.body = identities;
  });
  router.add('POST', '/users/:userId/identities', area, (ctx) => {
    const { connectorId, connectorData } = parse({ connectorId: text({ min: 1 }), connectorData: record() }, ctx.request.body);
    const row = user(ctx);
    const { target, identity } = socialIdentity(connectorId, connectorData);
    if (Object.hasOwn(row.identities, target)) throw new RequestError('user.identity_already_in_use', 422);
    ctx.body = store.update(row.id, { identities: { ...row.identities, [target]: identity } }).identities;
  });
  // The identity stands in a member of its own, beside which the real server may put a token secret.
  router.add('GET', '/users/:userId/identities/:target', area, (ctx) => {
    const { identities } = user(ctx);
    if (!Object.hasOwn(identities, ctx.params.target)) throw new RequestError('user.identity_not_exist', 404);
    ctx.body = { identity: identities[ctx.params.target] };
  });
  router.add('DELETE', '/users/:userId/identities/:target', area, (ctx) => {
    const row = user(ctx);
    const { target } = ctx.params;
    if (!Object.hasOwn(row.identities, target)) throw new RequestError('user.identity_not_exist', 404);
    const { [target]: _removed, ...identities } = row.identities;
    ctx.body = userResponse(store.update(row.id, { identities }));
  });

  router.add('GET', '/users/:userId/mfa-verifications', area, (ctx) => { ctx.body = mfaResponse(user(ctx)); });
  // Nothing of this kind exists in the stand-in.
  router.add('GET', '/users/:userId/organizations', area, (ctx) => { user(ctx); ctx.body = []; });

  addRoleRoutes(router, context);
  addHookRoutes(router, context);
}

function addRoleRoutes(router, { store, roles }) {
  router.add('POST', '/roles', area, (ctx) => {
    ctx.body = roles.create(parse({ name: text({ min: 1 }), description: text(), type: optional(oneOf('User', 'MachineToMachine')) }, ctx.request.body));
  });
  router.add('GET', '/roles', area, (ctx) => { ctx.body = roles.list(); });
  const body = (ctx) => parse({ roleIds: list(text({ min: 1 })) }, ctx.request.body).roleIds;
  const id = (ctx) => store.find(ctx.params.userId).id;
  router.add('GET', '/users/:userId/roles', area, (ctx) => {
    const all = roles.of(id(ctx));
    const { offset, limit, finish } = paginate(ctx);
    finish(all.length);
    ctx.body = all.slice(offset, offset + limit);
  });
  router.add('POST', '/users/:userId/roles', area, (ctx) => {
    const roleIds = body(ctx);
    ctx.status = 201;
    ctx.body = { roleIds, addedRoleIds: roles.assign(id(ctx), roleIds) };
  });
  router.add('PUT', '/users/:userId/roles', area, (ctx) => {
    const roleIds = body(ctx);
    roles.replace(id(ctx), roleIds);
    ctx.body = { roleIds };
  });
  router.add('DELETE', '/users/:userId/roles/:roleId', area, (ctx) => {
    roles.remove(id(ctx), ctx.params.roleId);
    ctx.status = 204;
  });
}

function addHookRoutes(router, { webhooks }) {
  router.add('POST', '/hooks', area, (ctx) => {
    const schema = { name: optional(text()), events: list(text()), config: object({ url: text({ url: true }), headers: optional(record()) }) };
    ctx.status = 201;
    ctx.body = webhooks.add(parse(schema, ctx.request.body));
  });
  router.add('GET', '/hooks', area, (ctx) => { ctx.body = webhooks.list(); });
  router.add('DELETE', '/hooks/:id', area, (ctx) => {
    if (!webhooks.delete(ctx.params.id)) throw new RequestError('entity.not_found', 404);
    ctx.status = 204;
  });
}
