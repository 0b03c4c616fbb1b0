// The Account API: users on themselves, with the opaque access token of /oidc/token. What is sensitive also needs
// a verification record of the same user, named in the header logto-verification-id.

import { authorizationUri, socialIdentity } from './connector.mjs';
import { RequestError, bearerToken, randomId } from './errors.mjs';
import { passwordIssues, usernameViolation } from './password_policy.mjs';
import { hashPassword, verifyPassword } from './passwords.mjs';
import {
  accountAnswer, answered, nullable, object, oneOf, optional, parse, patterns, profileAnswer, profileShape, record, text,
} from './schema.mjs';
import { ssoIdentities, userInfo, userResponse } from './users.mjs';
import { accountEvent } from './webhooks.mjs';

const area = { area: 'account' };
const RECORD_TTL_MS = 600_000;
const fieldNames = ['name', 'avatar', 'profile', 'email', 'phone', 'password', 'username', 'social', 'customData', 'mfa', 'passkey', 'session'];

/** {enabled, fields: {name: 'Off' | 'ReadOnly' | 'Edit', ...}}; a field that is not named is off. */
export function accountCenterOf(setting) {
  if (typeof setting === 'object') return { enabled: true, fields: {}, ...setting };
  return { enabled: setting, fields: Object.fromEntries(fieldNames.map((name) => [name, 'Edit'])) };
}

const canVerify = (user) => user.password !== null || Boolean(user.primaryEmail) || Boolean(user.primaryPhone);

export function accountGuard({ oidc, store, accountCenter }) {
  return async (ctx) => {
    // A resource JWT is not stored, so it is not found here: refused like an unknown token. The grant is not looked up.
    const token = await oidc.provider.AccessToken.find(bearerToken(ctx));
    const user = token?.isValid ? store.get(token.accountId) : undefined;
    if (!user) throw new RequestError('auth.unauthorized', 401);
    if (!token.scopes.has('openid')) throw new RequestError('auth.forbidden', 403);
    if (!accountCenter.enabled) throw new RequestError('account_center.not_enabled', 400);
    ctx.state.userId = user.id;
    ctx.state.scopes = token.scopes;
  };
}

export function addAccountRoutes(router, { store, queries, codes, accountCenter: { fields }, usernamePolicy, passwordPolicy, isPwned }) {
  const records = new Map();
  const me = (ctx) => store.find(ctx.state.userId);
  const event = (ctx, user) => ctx.state.hooks.push(() => accountEvent(ctx, 'User.Data.Updated', userInfo(user)));

  /** A proof about a new address or account belongs to nobody yet, and proves nothing about who asks. */
  function addRecord(ctx, { isOwn, ...proof }) {
    const id = randomId(21);
    const expiresAt = Date.now() + RECORD_TTL_MS;
    records.set(id, { ...proof, userId: isOwn ? ctx.state.userId : undefined, expiresAt });
    ctx.status = 201;
    return { verificationRecordId: id, expiresAt: new Date(expiresAt).toISOString() };
  }

  function recordOf(id, type) {
    const found = records.get(id);
    if (found?.type !== type || found.expiresAt <= Date.now()) throw new RequestError('verification_record.not_found');
    return found;
  }

  const isVerified = (ctx) => {
    const found = records.get(ctx.get('logto-verification-id'));
    return Boolean(found?.verified && found.isPermission && found.userId === ctx.state.userId && found.expiresAt > Date.now());
  };
  const assertVerified = (ctx) => { if (!isVerified(ctx)) throw new RequestError('verification_record.permission_denied', 401); };
  const assertEditable = (field) => { if (fields[field] !== 'Edit') throw new RequestError('account_center.field_not_editable'); };
  const assertScope = (ctx, scope, status = 400) => { if (!ctx.state.scopes.has(scope)) throw new RequestError('auth.unauthorized', status); };
  const isReadable = (field) => fields[field] === 'ReadOnly' || fields[field] === 'Edit';

  function assertRemainingIdentifier(user, changes) {
    const { username, primaryEmail, primaryPhone, identities } = { ...user, ...changes };
    const n = [username, primaryEmail, primaryPhone].filter(Boolean).length + Object.keys(identities).length + ssoIdentities(user).length;
    if (n === 0) throw new RequestError('user.last_sign_in_method_required');
  }

  const scopedProfile = (ctx, { profile: { address, ...rest } }) => ({
    ...rest, ...(ctx.state.scopes.has('address') && address !== undefined ? { address } : {}),
  });

  /** What the token's scopes and the tenant's fields let be seen. */
  function shown(ctx) {
    const user = me(ctx);
    const { scopes } = ctx.state;
    const all = userResponse(user);
    const see = (name, field, scope = 'profile') => (scopes.has(scope) && isReadable(field) ? { [name]: all[name] } : {});
    const { lastSignInAt, createdAt, updatedAt, applicationId, isSuspended } = all;
    return answered(accountAnswer, {
      id: user.id,
      ...see('name', 'name'), ...see('avatar', 'avatar'), ...see('username', 'username'),
      ...see('primaryEmail', 'email', 'email'), ...see('primaryPhone', 'phone', 'phone'),
      ...see('customData', 'customData', 'custom_data'), ...see('identities', 'social', 'identities'),
      ...(scopes.has('profile') ? { lastSignInAt, createdAt, updatedAt, applicationId, isSuspended } : {}),
      ...(scopes.has('profile') && isReadable('profile') ? { profile: scopedProfile(ctx, user) } : {}),
      ...see('hasPassword', 'password'),
      hasSecurityVerificationMethod: canVerify(user),
    });
  }

  router.add('GET', '/my-account', area, (ctx) => { ctx.body = shown(ctx); });

  router.add('PATCH', '/my-account', area, (ctx) => {
    const { name, avatar, username, customData } = parse({
      name: optional(nullable(text())), avatar: optional(nullable(text({ url: true }))),
      username: optional(nullable(text({ regex: patterns.username }))), customData: optional(record()),
    }, ctx.request.body);
    for (const [field, value] of Object.entries({ name, avatar, username, customData })) if (value !== undefined) assertEditable(field);
    assertScope(ctx, 'profile');
    if (customData !== undefined) assertScope(ctx, 'custom_data');
    if (username !== undefined) {
      assertVerified(ctx);
      if (username === null) assertRemainingIdentifier(me(ctx), { username });
      else {
        const violation = usernameViolation(username, usernamePolicy);
        if (violation) throw new RequestError(`user.username_${violation}`, 422);
        queries.checkIdentifierCollision({ username }, ctx.state.userId);
      }
    }
    const user = queries.updateUserById(ctx.state.userId, { name, avatar, username, customData }, { replace: true });
    event(ctx, user);
    ctx.body = shown(ctx);
  });

  router.add('PATCH', '/my-account/profile', area, (ctx) => {
    const profile = parse(profileShape, ctx.request.body);
    assertEditable('profile');
    assertScope(ctx, 'profile');
    if (profile.address !== undefined) assertScope(ctx, 'address');
    const user = queries.updateUserById(ctx.state.userId, { profile });
    event(ctx, user);
    ctx.body = answered(profileAnswer, scopedProfile(ctx, user));
  });

  router.add('POST', '/my-account/password', area, (ctx) => {
    const { password } = parse({ password: text({ min: 1 }) }, ctx.request.body);
    const user = me(ctx);
    // Somebody who has no way to verify may set a first password.
    if (canVerify(user)) assertVerified(ctx);
    assertEditable('password');
    const { name, username, primaryEmail: email, primaryPhone: phoneNumber } = user;
    const issues = passwordIssues(password, { name, username, email, phoneNumber }, passwordPolicy, isPwned);
    if (issues.length > 0) throw new RequestError('password.rejected', 422, { data: issues });
    if (user.password?.algorithm === 'Argon2i' && verifyPassword(password, user.password)) throw new RequestError('user.same_password', 422);
    event(ctx, store.update(user.id, { password: hashPassword(password) }));
    ctx.status = 204;
  });

  for (const [path, column, type, record] of [
    ['primary-email', 'primaryEmail', 'email', 'EmailVerificationCode'], ['primary-phone', 'primaryPhone', 'phone', 'PhoneVerificationCode'],
  ]) {
    router.add('POST', `/my-account/${path}`, area, (ctx) => {
      const body = parse({ [type]: text({ regex: patterns[type] }), newIdentifierVerificationRecordId: text() }, ctx.request.body);
      assertVerified(ctx);
      assertEditable(type);
      assertScope(ctx, type);
      const proof = recordOf(body.newIdentifierVerificationRecordId, record);
      if (!proof.verified || proof.identifier.value !== body[type]) throw new RequestError('verification_record.not_found');
      queries.checkIdentifierCollision({ [column]: body[type] }, ctx.state.userId);
      event(ctx, queries.updateUserById(ctx.state.userId, { [column]: body[type] }));
      ctx.status = 204;
    });
    router.add('DELETE', `/my-account/${path}`, area, (ctx) => {
      assertVerified(ctx);
      assertEditable(type);
      assertScope(ctx, type);
      assertRemainingIdentifier(me(ctx), { [column]: null });
      event(ctx, queries.updateUserById(ctx.state.userId, { [column]: null }));
      ctx.status = 204;
    });
  }

  for (const method of ['POST', 'PUT']) {
    router.add(method, '/my-account/identities', area, (ctx) => {
      const { newIdentifierVerificationRecordId: id } = parse({ newIdentifierVerificationRecordId: text() }, ctx.request.body);
      assertEditable('social');
      assertScope(ctx, 'identities', 401);
      const user = me(ctx);
      if (canVerify(user)) assertVerified(ctx);
      const proof = recordOf(id, 'Social');
      if (!proof.verified) throw new RequestError('verification_record.not_found');
      const { target, identity } = proof.social;
      queries.checkIdentifierCollision({ identity: { target, userId: identity.userId } }, user.id);
      if (method === 'POST' && user.identities[target]) throw new RequestError('user.identity_already_in_use');
      event(ctx, queries.updateUserById(user.id, { identities: { ...user.identities, [target]: identity } }));
      ctx.status = 204;
    });
  }

  router.add('DELETE', '/my-account/identities/:target', area, (ctx) => {
    const { target } = ctx.params;
    assertEditable('social');
    assertScope(ctx, 'identities');
    const user = me(ctx);
    if (canVerify(user)) assertVerified(ctx);
    if (!user.identities[target]) throw new RequestError('user.identity_not_exist', 404);
    const { [target]: _removed, ...identities } = user.identities;
    assertRemainingIdentifier(user, { identities });
    event(ctx, store.update(user.id, { identities }));
    ctx.status = 204;
  });

  // Whoever knows only a verification record's id can ask here, without changing anything, whether it holds.
  router.add('GET', '/my-account/sessions', area, (ctx) => {
    assertVerified(ctx);
    if (!isReadable('session')) throw new RequestError('account_center.field_not_enabled');
    assertScope(ctx, 'urn:logto:scope:sessions', 401);
    ctx.body = { sessions: [] };
  });

  router.add('POST', '/verifications/password', area, (ctx) => {
    const { password } = parse({ password: text({ min: 1 }) }, ctx.request.body);
    const user = me(ctx);
    if (!verifyPassword(password, user.password)) throw new RequestError('session.invalid_credentials', 422);
    if (user.password.algorithm !== 'Argon2i') store.update(user.id, { password: hashPassword(password) });
    ctx.body = addRecord(ctx, { type: 'Password', isOwn: true, isPermission: true, verified: true });
  });

  const codeRecord = (type) => (type === 'email' ? 'EmailVerificationCode' : 'PhoneVerificationCode');
  const identifier = object({ type: oneOf('email', 'phone'), value: text({ min: 1 }) });
  router.add('POST', '/verifications/verification-code', area, (ctx) => {
    const body = parse({ identifier, templateType: optional(oneOf('BindMfa', 'UserPermissionValidation')) }, ctx.request.body);
    const { type, value } = body.identifier;
    const isOwn = value === me(ctx)[type === 'email' ? 'primaryEmail' : 'primaryPhone'];
    const template = isOwn ? body.templateType ?? 'UserPermissionValidation' : 'BindNewIdentifier';
    const code = codes.issue(value, { type: template });
    ctx.body = addRecord(ctx, { type: codeRecord(type), identifier: body.identifier, code, isOwn, isPermission: template === 'UserPermissionValidation', verified: false });
  });
  router.add('POST', '/verifications/verification-code/verify', area, (ctx) => {
    const body = parse({ identifier, verificationId: text(), code: text() }, ctx.request.body);
    const found = recordOf(body.verificationId, codeRecord(body.identifier.type));
    codes.check(found.code, found.identifier.value, body.identifier.value, body.code);
    found.verified = true;
    ctx.body = { verificationRecordId: body.verificationId };
  });

  router.add('POST', '/verifications/social', area, (ctx) => {
    const body = parse({ connectorId: text({ min: 1 }), redirectUri: text({ url: true }), state: text({ min: 1 }) }, ctx.request.body);
    const added = addRecord(ctx, { type: 'Social', connectorId: body.connectorId, verified: false });
    ctx.body = { ...added, authorizationUri: authorizationUri(body.connectorId, body) };
  });
  router.add('POST', '/verifications/social/verify', area, (ctx) => {
    const body = parse({ connectorData: record(), verificationRecordId: text() }, ctx.request.body);
    const found = recordOf(body.verificationRecordId, 'Social');
    found.social = socialIdentity(found.connectorId, body.connectorData);
    found.verified = true;
    ctx.body = { verificationRecordId: body.verificationRecordId };
  });
}
