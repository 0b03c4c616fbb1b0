// The interaction API from before the Experience API, undocumented and still mounted: the steps of a sign-in, a
// registration and a reset, and single sign-on, which signs in and registers without any submit. Its progress is none
// that the Experience API can read (404 there), and a new user is written at `submit`. No recordings of it; from the reference.

import { RequestError, randomId } from './errors.mjs';
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

/** What a provider of enterprise SSO would say of somebody comes in the body: {id, email?, name?}. */
function addSingleSignOnRoutes(router, { store, load, tell, finish }) {
  const connector = (path) => `/interaction/single-sign-on/:connectorId/${path}`;

  router.add('POST', connector('authorization-url'), area, async (ctx) => {
    const { interaction } = await load(ctx, { started: false });
    await saveResult(interaction, { event: 'SignIn' });
    ctx.body = { redirectTo: `https://${ctx.params.connectorId}.example/authorize` };
  });

  router.add('POST', connector('authentication'), area, async (ctx) => {
    const loaded = await load(ctx);
    const { id, email, name } = parse({ id: text({ min: 1 }), email: optional(text()), name: optional(text()) }, ctx.request.body);
    const { connectorId } = ctx.params;
    const isSame = (row) => row.ssoIdentities?.some((identity) => identity.ssoConnectorId === connectorId && identity.identityId === id);
    const user = [...store.values()].find(isSame) ?? (email && store.findByIdentifier({ type: 'email', value: email }));
    if (!user) {
      await loaded.save({ ssoAuthentication: { connectorId, id, email, name } });
      throw new RequestError('user.identity_not_exist', 422);
    }
    await finish(ctx, loaded, store.update(user.id, { lastSignInAt: Date.now() }), 'PostSignIn');
  });

  router.add('POST', connector('registration'), area, async (ctx) => {
    const loaded = await load(ctx);
    const known = loaded.progress.ssoAuthentication;
    if (known?.connectorId !== ctx.params.connectorId) throw new RequestError('session.connector_session_not_found', 404);
    const user = store.create({
      primaryEmail: known.email ?? null, name: known.name ?? null, lastSignInAt: Date.now(),
      ssoIdentities: [{ id: randomId(21), ssoConnectorId: known.connectorId, identityId: known.id, issuer: `https://${known.connectorId}.example`, detail: {} }],
    });
    tell(ctx, loaded, 'User.Created', user);
    await finish(ctx, loaded, user, 'PostRegister');
  });
}

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

  const hookOf = ({ interaction, progress }) => ({
    interactionEvent: progress.event, interaction, application: applications.find(({ id }) => id === interaction.params.client_id),
  });
  const tell = (ctx, loaded, name, user) => ctx.state.hooks.push(() => experienceDataEvent(ctx, name, hookOf(loaded), userInfo(user)));

  /** Signed in: the interaction goes on where it came from. */
  async function finish(ctx, loaded, user, event) {
    await saveResult(loaded.interaction, { login: { accountId: user.id } });
    ctx.state.hooks.push(() => interactionHookEvent(ctx, event, hookOf(loaded), userInfo(user)));
    ctx.body = { redirectTo: loaded.interaction.returnTo };
  }

  addSingleSignOnRoutes(router, { store, load, tell, finish });

  router.add('POST', '/interaction/submit', area, async (ctx) => {
    const loaded = await load(ctx);
    const { interaction, progress } = loaded;
    const { profile } = progress;
    if (progress.event === 'Register') {
      const missing = ['username', 'password'].filter((name) => !profile[name]);
      if (missing.length > 0) throw new RequestError('user.missing_profile', 422, { data: { missingProfile: missing } });
      const user = store.create({ ...profile, lastSignInAt: Date.now() });
      tell(ctx, loaded, 'User.Created', user);
      await finish(ctx, loaded, user, 'PostRegister');
      return;
    }
    if (!progress.accountId) throw new RequestError('session.identifier_not_found', 404);
    if (progress.event === 'ForgotPassword') {
      const user = store.update(progress.accountId, { password: profile.password });
      await saveResult(interaction, {});
      tell(ctx, loaded, 'User.Data.Updated', user);
      ctx.status = 204;
      return;
    }
    const user = store.update(progress.accountId, { ...profile, lastSignInAt: Date.now() });
    if (Object.keys(profile).length > 0) tell(ctx, loaded, 'User.Data.Updated', user);
    await finish(ctx, loaded, user, 'PostSignIn');
  });
}
