// The interaction API from before the Experience API, undocumented and still mounted: the steps of a sign-in, a
// registration and a reset. Its progress is none that the Experience API can read (404 there), and a new user is
// written at `submit`. No recordings of it; from the reference.

import { RequestError } from './errors.mjs';
import { findInteraction, saveResult } from './interaction.mjs';
import { passwordIssues } from './password_policy.mjs';
import { hashPassword, verifyPassword } from './passwords.mjs';
import { object, oneOf, optional, parse, patterns, text } from './schema.mjs';
import { userInfo } from './users.mjs';
import { experienceDataEvent, interactionHookEvent } from './webhooks.mjs';

const area = { area: 'experience' };
const event = oneOf('SignIn', 'Register', 'ForgotPassword');
const secret = optional(text({ min: 1 }));
const identifier = { username: optional(text()), email: optional(text()), phone: optional(text()), password: secret };
const profileFields = {
  username: optional(text({ regex: patterns.username, max: 128 })), email: optional(text({ regex: patterns.email })),
  phone: optional(text({ regex: patterns.phone })), password: secret,
};

export function addLegacyInteractionRoutes(router, { oidc: { provider }, store, applications, passwordPolicy }) {
  async function load(ctx, { started = true } = {}) {
    const interaction = await findInteraction(provider, ctx);
    const progress = interaction.result?.event ? interaction.result : undefined;
    if (started && !progress) throw new RequestError('session.interaction_not_found', 404);
    return { interaction, progress, save: (changes) => saveResult(interaction, { ...progress, ...changes }) };
  }

  /** Who has shown the password; nothing without one. */
  function identified(given) {
    const type = ['username', 'email', 'phone'].find((name) => given?.[name] !== undefined);
    if (type === undefined) return {};
    const user = store.findByIdentifier({ type, value: given[type] });
    if (!user || given.password === undefined || !verifyPassword(given.password, user.password)) {
      throw new RequestError('session.invalid_credentials', 422);
    }
    if (user.isSuspended) throw new RequestError('user.suspended', 401);
    return { accountId: user.id };
  }

  /** As columns; the password is hashed right away. */
  function staged({ username, email, phone, password }, exceptId) {
    const columns = Object.fromEntries(
      Object.entries({ username, primaryEmail: email, primaryPhone: phone }).filter(([, value]) => value !== undefined),
    );
    store.assertFree(columns, exceptId);
    if (password === undefined) return columns;
    const issues = passwordIssues(password, { username, email, phoneNumber: phone }, passwordPolicy);
    if (issues.length > 0) throw new RequestError('password.rejected', 422, { data: issues });
    return { ...columns, password: hashPassword(password) };
  }

  router.add('PUT', '/interaction', area, async (ctx) => {
    const { interaction } = await load(ctx, { started: false });
    const body = parse({ event, identifier: optional(object(identifier)), profile: optional(object(profileFields)) }, ctx.request.body);
    const who = identified(body.identifier);
    await saveResult(interaction, { event: body.event, ...who, profile: staged(body.profile ?? {}, who.accountId) });
    ctx.status = 204;
  });

  router.add('DELETE', '/interaction', area, async (ctx) => {
    const { interaction } = await load(ctx, { started: false });
    await saveResult(interaction, { error: 'access_denied' });
    ctx.body = { redirectTo: interaction.returnTo };
  });

  router.add('PUT', '/interaction/event', area, async (ctx) => {
    const { save } = await load(ctx);
    await save(parse({ event }, ctx.request.body));
    ctx.status = 204;
  });

  router.add('PATCH', '/interaction/identifiers', area, async (ctx) => {
    const { save } = await load(ctx);
    await save(identified(parse(identifier, ctx.request.body)));
    ctx.status = 204;
  });

  for (const method of ['PUT', 'PATCH']) {
    router.add(method, '/interaction/profile', area, async (ctx) => {
      const { progress, save } = await load(ctx);
      const fresh = staged(parse(profileFields, ctx.request.body), progress.accountId);
      await save({ profile: method === 'PUT' ? fresh : { ...progress.profile, ...fresh } });
      ctx.status = 204;
    });
  }

  router.add('DELETE', '/interaction/profile', area, async (ctx) => {
    const { save } = await load(ctx);
    await save({ profile: {} });
    ctx.status = 204;
  });

  router.add('POST', '/interaction/submit', area, async (ctx) => {
    const { interaction, progress } = await load(ctx);
    const hook = {
      interactionEvent: progress.event, interaction, application: applications.find(({ id }) => id === interaction.params.client_id),
    };
    const tell = (name, user) => ctx.state.hooks.push(() => experienceDataEvent(ctx, name, hook, userInfo(user)));
    const { profile } = progress;
    if (progress.event === 'Register') {
      const missing = ['username', 'password'].filter((name) => !profile[name]);
      if (missing.length > 0) throw new RequestError('user.missing_profile', 422, { data: { missingProfile: missing } });
      const user = store.create({ ...profile, lastSignInAt: Date.now() });
      await saveResult(interaction, { login: { accountId: user.id } });
      tell('User.Created', user);
      ctx.state.hooks.push(() => interactionHookEvent(ctx, 'PostRegister', hook, userInfo(user)));
      ctx.body = { redirectTo: interaction.returnTo };
      return;
    }
    if (!progress.accountId) throw new RequestError('session.identifier_not_found', 404);
    if (progress.event === 'ForgotPassword') {
      const user = store.update(progress.accountId, { password: profile.password });
      await saveResult(interaction, {});
      tell('User.Data.Updated', user);
      ctx.status = 204;
      return;
    }
    const user = store.update(progress.accountId, { ...profile, lastSignInAt: Date.now() });
    await saveResult(interaction, { login: { accountId: user.id } });
    if (Object.keys(profile).length > 0) tell('User.Data.Updated', user);
    ctx.state.hooks.push(() => interactionHookEvent(ctx, 'PostSignIn', hook, userInfo(user)));
    ctx.body = { redirectTo: interaction.returnTo };
  });
}
