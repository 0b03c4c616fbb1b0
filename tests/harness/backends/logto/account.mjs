// The Account API: users on themselves, with the opaque access token of /oidc/token. What is sensitive also needs
// a verification record of the same user, named in the header logto-verification-id.

import { authorizationUri, socialIdentity } from './connector.mjs';
import { RequestError, bearerToken, randomId } from './errors.mjs';
import { hashPassword, passwordIssues, verifyPassword } from './passwords.mjs';
import { clearable, object, oneOf, optional, parse, patterns, profileShape, record, text } from './schema.mjs';
import { userInfo, userResponse } from './users.mjs';
import { accountEvent } from './webhooks.mjs';

const area = { area: 'account' };
const RECORD_TTL_MS = 600_000;

const accountResponse = (user) => ({
  ...userResponse(user),
  hasSecurityVerificationMethod: user.password !== null || user.primaryEmail !== null || user.primaryPhone !== null,
});

export function accountGuard({ oidc, store, accountCenter }) {
  return async (ctx) => {
    // A resource JWT is not stored, so it is not found here: refused like an unknown token. The grant is not looked up.
    const token = await oidc.provider.AccessToken.find(bearerToken(ctx));
    const user = token?.isValid ? store.get(token.accountId) : undefined;
    if (!user) throw new RequestError('auth.unauthorized', 401);
    if (!token.scopes.has('openid')) throw new RequestError('auth.forbidden', 403);
    if (!accountCenter) throw new RequestError('account_center.not_enabled', 400);
    ctx.state.userId = user.id;
  };
}

export function addAccountRoutes(router, { store, codes }) {
  const records = new Map();
  const me = (ctx) => store.find(ctx.state.userId);
  const event = (ctx, user) => ctx.state.hooks.push(() => accountEvent(ctx, 'User.Data.Updated', userInfo(user)));

  function addRecord(ctx, fields) {
    const id = randomId(21);
    const expiresAt = Date.now() + RECORD_TTL_MS;
    records.set(id, { ...fields, userId: ctx.state.userId, expiresAt });
    ctx.status = 201;
    return { verificationRecordId: id, expiresAt: new Date(expiresAt).toISOString() };
  }

  function liveRecord(ctx, id) {
    const found = records.get(id);
    return found && found.userId === ctx.state.userId && found.expiresAt > Date.now() ? found : undefined;
  }

  function assertVerified(ctx) {
    if (!liveRecord(ctx, ctx.get('logto-verification-id'))?.verified) throw new RequestError('verification_record.permission_denied', 401);
  }

  router.add('GET', '/my-account', area, (ctx) => { ctx.body = accountResponse(me(ctx)); });

  router.add('PATCH', '/my-account', area, (ctx) => {
    const body = parse({
      name: clearable(text({ max: 128 })), avatar: clearable(text({ url: true })),
      username: clearable(text({ regex: patterns.username })), customData: optional(record()),
    }, ctx.request.body);
    if (body.username !== undefined) assertVerified(ctx);
    for (const key of ['name', 'avatar', 'username']) if (body[key] === '') body[key] = null;
    const user = store.update(ctx.state.userId, body);
    ctx.body = accountResponse(user);
    event(ctx, user);
  });

  router.add('PATCH', '/my-account/profile', area, (ctx) => {
    const body = parse(profileShape, ctx.request.body);
    const user = store.update(ctx.state.userId, { profile: { ...me(ctx).profile, ...body } });
    ctx.body = user.profile;
    event(ctx, user);
  });

  router.add('POST', '/my-account/password', area, (ctx) => {
    const { password } = parse({ password: text({ min: 1 }) }, ctx.request.body);
    const user = me(ctx);
    // Somebody who has no way to verify may set a first password.
    if (accountResponse(user).hasSecurityVerificationMethod) assertVerified(ctx);
    const issues = passwordIssues(password, [user.username, user.primaryEmail]);
    if (issues.length > 0) throw new RequestError('password.rejected', 422, { data: issues });
    event(ctx, store.update(user.id, { password: hashPassword(password) }));
    ctx.status = 204;
  });

  for (const [path, column, type] of [['primary-email', 'primaryEmail', 'email'], ['primary-phone', 'primaryPhone', 'phone']]) {
    router.add('POST', `/my-account/${path}`, area, (ctx) => {
      const body = parse({ [type]: text({ regex: patterns[type] }), newIdentifierVerificationRecordId: text() }, ctx.request.body);
      assertVerified(ctx);
      const proof = liveRecord(ctx, body.newIdentifierVerificationRecordId);
      if (!proof?.verified || proof.identifier?.type !== type || proof.identifier.value !== body[type]) {
        throw new RequestError('verification_record.not_found', 400);
      }
      event(ctx, store.update(ctx.state.userId, { [column]: body[type] }));
      ctx.status = 204;
    });
    router.add('DELETE', `/my-account/${path}`, area, (ctx) => {
      assertVerified(ctx);
      event(ctx, store.update(ctx.state.userId, { [column]: null }));
      ctx.status = 204;
    });
  }

  for (const method of ['POST', 'PUT']) {
    router.add(method, '/my-account/identities', area, (ctx) => {
      const { newIdentifierVerificationRecordId: id } = parse({ newIdentifierVerificationRecordId: text() }, ctx.request.body);
      assertVerified(ctx);
      const proof = liveRecord(ctx, id);
      if (!proof?.verified || proof.social === undefined) throw new RequestError('verification_record.not_found', 400);
      const { target, identity } = proof.social;
      const { identities } = me(ctx);
      if (method === 'POST' && Object.hasOwn(identities, target)) throw new RequestError('user.identity_already_in_use', 422);
      event(ctx, store.update(ctx.state.userId, { identities: { ...identities, [target]: identity } }));
      ctx.status = 204;
    });
  }

  router.add('DELETE', '/my-account/identities/:target', area, (ctx) => {
    assertVerified(ctx);
    const { [ctx.params.target]: removed, ...identities } = me(ctx).identities;
    if (!removed) throw new RequestError('user.identity_not_exist', 404);
    event(ctx, store.update(ctx.state.userId, { identities }));
    ctx.status = 204;
  });

  router.add('POST', '/verifications/password', area, (ctx) => {
    const { password } = parse({ password: text({ min: 1 }) }, ctx.request.body);
    const user = me(ctx);
    if (!verifyPassword(password, user.password)) throw new RequestError('session.invalid_credentials', 422);
    if (user.password.algorithm !== 'Argon2i') store.update(user.id, { password: hashPassword(password) });
    ctx.body = addRecord(ctx, { type: 'Password', verified: true });
  });

  const identifier = object({ type: oneOf('email', 'phone'), value: text({ min: 1 }) });
  router.add('POST', '/verifications/verification-code', area, (ctx) => {
    const body = parse({ identifier, templateType: optional(text()) }, ctx.request.body);
    const code = codes.issue(body.identifier.value, { type: body.templateType ?? 'UserPermissionValidation' });
    ctx.body = addRecord(ctx, { type: 'VerificationCode', identifier: body.identifier, code, verified: false });
  });
  router.add('POST', '/verifications/verification-code/verify', area, (ctx) => {
    const body = parse({ identifier, verificationId: text(), code: text() }, ctx.request.body);
    const found = liveRecord(ctx, body.verificationId);
    if (!found?.code) throw new RequestError('verification_record.not_found', 404);
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
    const found = liveRecord(ctx, body.verificationRecordId);
    if (!found?.connectorId) throw new RequestError('verification_record.not_found', 404);
    found.social = socialIdentity(found.connectorId, body.connectorData);
    found.verified = true;
    ctx.body = { verificationRecordId: body.verificationRecordId };
  });
}
