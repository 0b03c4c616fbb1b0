// The Experience API: what the sign-in page calls. No bearer token, only the interaction cookie; progress lives in
// the interaction's `result`. Staged data is written at `identification` (a new user) and at `submit` (the rest).

import { authorizationUri, socialIdentity } from './connector.mjs';
import { RequestError, randomId } from './errors.mjs';
import { findInteraction, saveResult } from './interaction.mjs';
import { passwordIssues } from './password_policy.mjs';
import { hashPassword, verifyPassword } from './passwords.mjs';
import { object, oneOf, optional, parse, patterns, record, text } from './schema.mjs';
import { signInExperience } from './seed.mjs';
import { userInfo } from './users.mjs';
import { experienceDataEvent, interactionHookEvent } from './webhooks.mjs';

const area = { area: 'experience' };
const eventSchema = { interactionEvent: oneOf('SignIn', 'Register', 'ForgotPassword') };
const identifier = object({ type: oneOf('username', 'email', 'phone'), value: text({ min: 1 }) });

/** Without what must not leave the server: hashes and codes. */
const publicProfile = ({ password: _hidden, ...profile }) => profile;

export function addExperienceRoutes(router, context) {
  const { oidc: { provider }, store, codes, applications, passwordPolicy } = context;
  const applicationOf = (interaction) => applications.find(({ id }) => id === interaction.params.client_id);

  /** The interaction and its progress; `save` puts the progress back. */
  async function load(ctx, { started = true } = {}) {
    const interaction = await findInteraction(provider, ctx);
    const progress = interaction.result?.interactionEvent ? interaction.result : undefined;
    if (started && !progress) throw new RequestError('session.interaction_not_found', 404);
    return {
      interaction,
      progress,
      save: (changes) => saveResult(interaction, { ...progress, ...changes }),
      hook: { interactionEvent: progress?.interactionEvent, interaction, application: applicationOf(interaction) },
    };
  }

  const fresh = (ctx, interactionEvent) => ({
    interactionEvent, profile: {}, verificationRecords: [], mfa: {},
    signInContext: { ip: ctx.ip, userAgent: ctx.get('user-agent') },
    captcha: { verified: false, skipped: false },
  });

  function verified(progress, verificationId) {
    const found = progress.verificationRecords.find(({ id }) => id === verificationId);
    if (!found) throw new RequestError('session.verification_session_not_found', 404);
    if (!found.verified) throw new RequestError('session.verification_failed', 400);
    return found;
  }

  function assertNotSuspended(user) {
    if (user.isSuspended) throw new RequestError('user.suspended', 401);
  }

  function assertPolicy(password, profile) {
    const { name, username, primaryEmail: email, primaryPhone: phoneNumber } = profile;
    const issues = passwordIssues(password, { name, username, email, phoneNumber }, passwordPolicy);
    if (issues.length > 0) throw new RequestError('password.rejected', 422, { data: issues });
  }

  const withRecord = (progress, added) => ({
    verificationRecords: [...progress.verificationRecords.filter(({ type, id }) => type !== added.type && id !== added.id), added],
  });

  router.add('GET', '/.well-known/sign-in-exp', { area: 'public' }, (ctx) => { ctx.body = signInExperience; });

  router.add('PUT', '/experience', area, async (ctx) => {
    const { interaction } = await load(ctx, { started: false });
    const { interactionEvent } = parse({ ...eventSchema, captchaToken: optional(text()) }, ctx.request.body);
    await saveResult(interaction, fresh(ctx, interactionEvent));
    ctx.status = 204;
  });

  router.add('PUT', '/experience/interaction-event', area, async (ctx) => {
    const { progress, save } = await load(ctx);
    const { interactionEvent } = parse(eventSchema, ctx.request.body);
    // A reset flow cannot turn into a sign-in, nor the other way round.
    if ((interactionEvent === 'ForgotPassword') !== (progress.interactionEvent === 'ForgotPassword')) {
      throw new RequestError('session.not_supported_for_forgot_password', 400);
    }
    await save({ interactionEvent, profile: {} });
    ctx.status = 204;
  });

  router.add('GET', '/experience/interaction', area, async (ctx) => {
    const { progress } = await load(ctx);
    ctx.body = {
      interactionEvent: progress.interactionEvent,
      ...(progress.userId ? { userId: progress.userId } : {}),
      profile: publicProfile(progress.profile),
      verificationRecords: progress.verificationRecords.map(({ id, type, identifier: who, verified: isVerified }) => ({
        id, type, identifier: who, verified: isVerified,
      })),
      mfa: progress.mfa,
      signInContext: progress.signInContext,
      captcha: progress.captcha,
    };
  });

  router.add('GET', '/experience/sso-connectors', area, async (ctx) => {
    await load(ctx);
    ctx.body = { connectorIds: [] };
  });

  router.add('POST', '/experience/verification/password', area, async (ctx) => {
    const { progress, save } = await load(ctx);
    const body = parse({ identifier, password: text({ min: 1 }) }, ctx.request.body);
    const user = store.findByIdentifier(body.identifier);
    // An unknown user and a wrong password look the same.
    if (!user || !verifyPassword(body.password, user.password)) throw new RequestError('session.invalid_credentials', 422);
    assertNotSuspended(user);
    // An imported hash becomes Logto's own kind at the first correct password; silent, no webhook.
    if (user.password.algorithm !== 'Argon2i') store.update(user.id, { password: hashPassword(body.password) });
    const id = randomId(21);
    await save(withRecord(progress, { id, type: 'Password', identifier: body.identifier, verified: true }));
    ctx.body = { verificationId: id };
  });

  router.add('POST', '/experience/verification/new-password-identity', area, async (ctx) => {
    const { progress, save } = await load(ctx);
    const body = parse({ identifier: object({ type: oneOf('username'), value: text({ regex: patterns.username }) }), password: text({ min: 1 }) }, ctx.request.body);
    store.assertFree({ username: body.identifier.value });
    assertPolicy(body.password, { username: body.identifier.value });
    const id = randomId(21);
    await save(withRecord(progress, {
      id, type: 'NewPasswordIdentity', identifier: body.identifier, verified: true, password: hashPassword(body.password),
    }));
    ctx.body = { verificationId: id };
  });

  router.add('POST', '/experience/verification/verification-code', area, async (ctx) => {
    const { progress, save } = await load(ctx);
    const body = parse({ ...eventSchema, identifier }, ctx.request.body);
    const id = randomId(21);
    // Unknown recipients of a reset get the same answer and no message.
    const known = store.findByIdentifier(body.identifier) !== undefined || body.interactionEvent === 'Register';
    const type = body.identifier.type === 'email' ? 'EmailVerificationCode' : 'PhoneVerificationCode';
    const code = codes.issue(body.identifier.value, { type: body.interactionEvent, silent: !known });
    await save(withRecord(progress, { id, type, identifier: body.identifier, verified: false, code }));
    ctx.body = { verificationId: id };
  });

  router.add('POST', '/experience/verification/verification-code/verify', area, async (ctx) => {
    const { progress, save } = await load(ctx);
    const body = parse({ identifier, verificationId: text(), code: text() }, ctx.request.body);
    const found = progress.verificationRecords.find(({ id }) => id === body.verificationId);
    if (!found?.code) throw new RequestError('session.verification_session_not_found', 404);
    codes.check(found.code, found.identifier.value, body.identifier.value, body.code);
    await save(withRecord(progress, { ...found, verified: true }));
    ctx.body = { verificationId: found.id };
  });

  router.add('POST', '/experience/verification/social/:connectorId/authorization-uri', area, async (ctx) => {
    const { progress, save } = await load(ctx);
    const body = parse({ state: text({ min: 1 }), redirectUri: text({ url: true }) }, ctx.request.body);
    const id = randomId(21);
    await save(withRecord(progress, { id, type: 'Social', verified: false }));
    ctx.body = { authorizationUri: authorizationUri(ctx.params.connectorId, body), verificationId: id };
  });

  router.add('POST', '/experience/verification/social/:connectorId/verify', area, async (ctx) => {
    const { progress, save } = await load(ctx);
    const body = parse({ connectorData: record(), verificationId: optional(text()) }, ctx.request.body);
    const id = body.verificationId ?? randomId(21);
    const social = socialIdentity(ctx.params.connectorId, body.connectorData);
    await save(withRecord(progress, { id, type: 'Social', verified: true, social }));
    ctx.body = { verificationId: id };
  });

  router.add('POST', '/experience/profile', area, async (ctx) => {
    const { progress, save } = await load(ctx);
    const body = parse({
      type: oneOf('email', 'phone', 'username', 'password', 'social', 'extraProfile'),
      value: optional(text()), verificationId: optional(text()), values: optional(record()),
    }, ctx.request.body);
    if (progress.interactionEvent === 'ForgotPassword') throw new RequestError('session.not_supported_for_forgot_password', 400);
    if (progress.interactionEvent === 'SignIn' && !progress.userId) throw new RequestError('session.identifier_not_found', 404);
    const staged = { ...progress.profile };
    switch (body.type) {
      case 'username': {
        const { value } = parse({ value: text({ regex: patterns.username, max: 128 }) }, ctx.request.body);
        store.assertFree({ username: value }, progress.userId);
        staged.username = value;
        break;
      }
      case 'password': {
        const { value } = parse({ value: text() }, ctx.request.body);
        assertPolicy(value, staged);
        staged.password = hashPassword(value);
        break;
      }
      case 'email':
      case 'phone': {
        const column = body.type === 'email' ? 'primaryEmail' : 'primaryPhone';
        const { identifier: { value } } = verified(progress, body.verificationId);
        store.assertFree({ [column]: value }, progress.userId);
        staged[column] = value;
        break;
      }
      case 'social': {
        const { social } = verified(progress, body.verificationId);
        if (!social) throw new RequestError('session.verification_failed', 400);
        store.assertFree({ identities: { [social.target]: social.identity } }, progress.userId);
        staged.identities = { ...staged.identities, [social.target]: social.identity };
        break;
      }
      case 'extraProfile': {
        const { name, avatar, customData, ...profile } = body.values ?? {};
        if (name !== undefined) staged.name = name;
        if (avatar !== undefined) staged.avatar = avatar;
        if (customData !== undefined) staged.customData = customData;
        staged.profile = { ...staged.profile, ...profile };
        break;
      }
      default:
        throw new RequestError('session.verification_session_not_found', 404);
    }
    await save({ profile: staged });
    ctx.status = 204;
  });

  router.add('PUT', '/experience/profile/password', area, async (ctx) => {
    const { progress, save } = await load(ctx);
    const { password } = parse({ password: text() }, ctx.request.body);
    if (progress.interactionEvent !== 'ForgotPassword') throw new RequestError('session.invalid_interaction_type', 400);
    if (!progress.userId) throw new RequestError('session.identifier_not_found', 404);
    const user = store.find(progress.userId);
    assertPolicy(password, user);
    if (verifyPassword(password, user.password)) throw new RequestError('user.same_password', 422);
    await save({ profile: { ...progress.profile, password: hashPassword(password) } });
    ctx.status = 204;
  });

  function missingProfile(profile) {
    const missing = [];
    if (!profile.username) missing.push('username');
    if (!profile.password) missing.push('password');
    if (missing.length > 0) throw new RequestError('user.missing_profile', 422, { data: { missingProfile: missing } });
  }

  /** The row is inserted here, before submit. A second call finds nothing staged, hence the same missing_profile. */
  async function register(ctx, { progress, save, hook }, verificationId) {
    const profile = { ...progress.profile };
    if (verificationId !== undefined) {
      const found = verified(progress, verificationId);
      if (found.type === 'NewPasswordIdentity') Object.assign(profile, { username: found.identifier.value, password: found.password });
      else profile[found.type === 'EmailVerificationCode' ? 'primaryEmail' : 'primaryPhone'] = found.identifier.value;
    }
    missingProfile(profile);
    const user = store.create(profile);
    await save({ userId: user.id, profile: {} });
    ctx.state.hooks.push(() => experienceDataEvent(ctx, 'User.Created', hook, userInfo(user)));
    ctx.status = 201;
    ctx.type = 'text/plain; charset=utf-8';
    ctx.body = 'Created';
  }

  router.add('POST', '/experience/identification', area, async (ctx) => {
    const loaded = await load(ctx);
    const { progress, save } = loaded;
    const { verificationId } = parse({ verificationId: optional(text()) }, ctx.request.body);
    if (progress.interactionEvent === 'Register') {
      await register(ctx, loaded, verificationId);
      return;
    }
    const { identifier: who } = verified(progress, verificationId);
    const user = store.findByIdentifier(who);
    if (!user) throw new RequestError('user.user_not_exist', 404);
    assertNotSuspended(user);
    if (progress.userId && progress.userId !== user.id) throw new RequestError('session.identity_conflict', 409);
    await save({ userId: user.id });
    ctx.status = 204;
  });

  router.add('POST', '/experience/submit', area, async (ctx) => {
    const { interaction, progress, hook } = await load(ctx);
    if (!progress.userId) throw new RequestError('session.identifier_not_found', 404);
    const { interactionEvent, profile: staged } = progress;
    const old = store.find(progress.userId);
    assertNotSuspended(old);
    if (interactionEvent === 'ForgotPassword') {
      if (!staged.password) throw new RequestError('user.missing_profile', 422, { data: { missingProfile: ['password'] } });
      const user = store.update(old.id, { password: staged.password });
      await saveResult(interaction, {});
      ctx.state.hooks.push(() => experienceDataEvent(ctx, 'User.Data.Updated', hook, userInfo(user)));
      ctx.state.hooks.push(() => interactionHookEvent(ctx, 'PostResetPassword', hook, userInfo(user)));
      ctx.status = 204;
      return;
    }
    const changes = { ...staged };
    if (staged.profile) changes.profile = { ...old.profile, ...staged.profile };
    if (staged.identities) changes.identities = { ...old.identities, ...staged.identities };
    if (staged.customData) changes.customData = { ...old.customData, ...staged.customData };
    const user = store.update(old.id, { ...changes, lastSignInAt: Date.now() });
    await saveResult(interaction, { login: { accountId: user.id } });
    // lastSignInAt alone is silent.
    if (Object.keys(staged).length > 0) ctx.state.hooks.push(() => experienceDataEvent(ctx, 'User.Data.Updated', hook, userInfo(user)));
    ctx.state.hooks.push(() => interactionHookEvent(ctx, interactionEvent === 'Register' ? 'PostRegister' : 'PostSignIn', hook, userInfo(user)));
    ctx.body = { redirectTo: interaction.returnTo };
  });
}
