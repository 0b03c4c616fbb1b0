// The Management API on users.

import { getHashes } from 'node:crypto';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { socialIdentity } from './connector.mjs';
import { RequestError, bearerToken } from './errors.mjs';
import { hashPassword, verifyPassword } from './passwords.mjs';
import { shownUser } from './queries.mjs';
import {
  answered, clearable, customDataAnswer, flag, identitiesAnswer, identityShape, list, object, oneOf, optional, parse, patterns,
  profileAnswer, profileShape, record, text,
} from './schema.mjs';
import { MANAGEMENT_RESOURCE, signInExperience } from './seed.mjs';
import { paginate, userFilter } from './listing.mjs';
import { digests, mfaResponse, ssoIdentities, userInfo, userResponse } from './users.mjs';
import { managementEvent } from './webhooks.mjs';

const area = { area: 'management' };
const algorithms = ['Argon2i', 'Argon2id', 'Argon2d', 'SHA1', 'SHA256', 'MD5', 'Bcrypt', 'Legacy'];

const createShape = {
  primaryPhone: optional(text({ regex: patterns.phone })),
  primaryEmail: optional(text({ regex: patterns.email })),
  username: optional(text({ regex: patterns.username })),
  password: optional(text({ min: 1 })),
  passwordDigest: optional(text({ max: 256 })),
  passwordAlgorithm: optional(oneOf(...algorithms)),
  name: optional(text()),
  avatar: clearable(text({ url: true })),
  customData: optional(record()),
  profile: optional(object(profileShape)),
};
const patchShape = {
  username: clearable(text({ regex: patterns.username })),
  primaryEmail: clearable(text({ regex: patterns.email })),
  primaryPhone: clearable(text({ regex: patterns.phone })),
  name: clearable(text()),
  avatar: clearable(text({ url: true })),
  customData: optional(record()),
  profile: optional(object(profileShape)),
};
const passwordShape = { password: text({ min: 1 }) };

/** A digest of another system's making: `[algorithm, [args with "@"], expected]`, of what this Node can hash. */
function assertLegacy(digest) {
  let parsed;
  try { parsed = JSON.parse(digest); } catch { /* no JSON is no legacy password */ }
  const isText = (value) => typeof value === 'string';
  const [algorithm, args, expected, ...rest] = Array.isArray(parsed) ? parsed : [];
  if (!isText(algorithm) || !Array.isArray(args) || !args.every(isText) || !args.includes('@') || !isText(expected) || rest.length > 0) {
    throw new RequestError('password.invalid_legacy_password_format');
  }
  if (!['pbkdf2', 'pbkdf2Sync', 'firebase-scrypt'].includes(algorithm) && !getHashes().includes(algorithm)) {
    throw new RequestError('password.unsupported_legacy_hash_algorithm', 400, { values: { algorithm } });
  }
}

/** Switches in queries. */
const yes = (value) => ['y', 'yes', 'true', '1'].includes(String(value).toLowerCase());

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
  const { store, queries, oidcStore, roles } = context;
  const event = (ctx, name, data) => ctx.state.hooks.push(() => managementEvent(ctx, name, data));
  const user = (ctx) => store.find(ctx.params.userId);

  router.add('POST', '/users', area, (ctx) => {
    const { password, passwordDigest, passwordAlgorithm, ...fields } = parse(createShape, ctx.request.body);
    if (password && passwordDigest) throw new RequestError('user.password_and_digest');
    if (passwordDigest && !passwordAlgorithm) throw new RequestError('user.password_algorithm_required');
    queries.assertNew(fields);
    // One without a digest is asked for what is not there.
    if (passwordAlgorithm === 'Legacy' && !passwordDigest) throw new RequestError('password.unsupported_encryption_method', 400);
    if (passwordAlgorithm === 'Legacy') assertLegacy(passwordDigest);
    const stored = password ? hashPassword(password) : passwordDigest ? { digest: passwordDigest, algorithm: passwordAlgorithm } : null;
    ctx.body = shownUser(queries.insertUser({ ...fields, password: stored }));
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
    const fields = parse(patchShape, ctx.request.body);
    const { id } = user(ctx);
    queries.checkIdentifierCollision(fields, id);
    ctx.body = shownUser(queries.updateUserById(id, fields, { replace: true }));
    event(ctx, 'User.Data.Updated', ctx.body);
  });

  router.add('DELETE', '/users/:userId', area, (ctx) => {
    if (ctx.params.userId === ctx.state.auth.sub) throw new RequestError('user.cannot_delete_self');
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
    ctx.body = answered(customDataAnswer, queries.updateUserById(user(ctx).id, { customData }).customData);
    event(ctx, 'User.Data.Updated', ctx.body);
  });

  router.add('PATCH', '/users/:userId/profile', area, (ctx) => {
    const { profile } = parse({ profile: object(profileShape) }, ctx.request.body);
    ctx.body = answered(profileAnswer, queries.updateUserById(user(ctx).id, { profile }).profile);
    event(ctx, 'User.Data.Updated', ctx.body);
  });

  router.add('PATCH', '/users/:userId/password', area, (ctx) => {
    const { password } = parse(passwordShape, ctx.request.body);
    const { id } = user(ctx);
    ctx.body = shownUser(store.update(id, { password: hashPassword(password) }));
    event(ctx, 'User.Data.Updated', ctx.body);
  });

  router.add('POST', '/users/:userId/password/verify', area, (ctx) => {
    const { password } = parse(passwordShape, ctx.request.body);
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
    ctx.body = shownUser(row);
    event(ctx, 'User.SuspensionStatus.Updated', ctx.body);
  });

  // Social identities change silently: no webhook tells of them.
  router.add('PUT', '/users/:userId/identities/:target', area, (ctx) => {
    const identity = parse(identityShape, ctx.request.body);
    const row = user(ctx);
    const { target } = ctx.params;
    if (queries.hasUserWithIdentity(target, identity.userId, row.id)) throw new RequestError('user.identity_already_in_use', 422);
    // With `in`, so that a target that every object has by its prototype never counts as new.
    if (!(target in row.identities)) ctx.status = 201;
    ctx.body = answered(identitiesAnswer, queries.updateUserById(row.id, { identities: { ...row.identities, [target]: identity } }).identities);
  });
  router.add('POST', '/users/:userId/identities', area, (ctx) => {
    const { connectorId, connectorData } = parse({ connectorId: text(), connectorData: record() }, ctx.request.body);
    const row = user(ctx);
    const { target, identity } = socialIdentity(connectorId, connectorData);
    if (queries.hasUserWithIdentity(target, identity.userId, row.id)) throw new RequestError('user.identity_already_in_use', 422);
    ctx.body = answered(identitiesAnswer, queries.updateUserById(row.id, { identities: { ...row.identities, [target]: identity } }).identities);
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
    ctx.body = shownUser(store.update(row.id, { identities }));
  });

  router.add('GET', '/users/:userId/mfa-verifications', area, (ctx) => { ctx.body = mfaResponse(user(ctx)); });
  // Nothing of this kind exists in the stand-in.
  router.add('GET', '/users/:userId/organizations', area, (ctx) => { user(ctx); ctx.body = []; });

  addRoleRoutes(router, context);
  addHookRoutes(router, context);
  addTenantRoutes(router, context);
}

/** What a tenant allows its users. */
function addTenantRoutes(router, { accountCenter, usernamePolicy, passwordPolicy }) {
  router.add('GET', '/sign-in-exp', area, (ctx) => { ctx.body = { ...signInExperience, usernamePolicy, passwordPolicy }; });
  router.add('GET', '/account-center', area, (ctx) => {
    ctx.body = { tenantId: 'default', id: 'default', ...accountCenter, webauthnRelatedOrigins: [], deleteAccountUrl: null, customCss: null, profileFields: null };
  });
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
