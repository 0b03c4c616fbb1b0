// A stand-in for mgPass, built from its public documents: the part of its API
// and its OAuth surface that a migration from Logto touches. It lives on the D1
// shape of schema/mgpass, has users of its own, keeps mgPass's limits, and reads
// through a cache. Where the documents say nothing, the code says ASSUMPTION.
// For tests and the sandbox only: no faults and no counters here (front.mjs).

import { WorkerEntrypoint } from 'cloudflare:workers';

import { listAudit, listLoginHistory } from './audit.mjs';
import { authorize, logout, signIn } from './authorize.mjs';
import { requireAdmin, requirePerson } from './bearer.mjs';
import { handleControl } from './control.mjs';
import { readEdition } from './edition.mjs';
import { ApiError, json } from './http.mjs';
import { publicJwks } from './keys.mjs';
import { takeFromLimit } from './limits.mjs';
import * as rewards from './rewards.mjs';
import { matchRoute } from './routes.mjs';
import { ensureSeeded } from './seed.mjs';
import { getSettings } from './settings.mjs';
import { introspect, revoke, token, userinfo } from './token.mjs';
import * as users from './users.mjs';

const REWARDS_PER_MINUTE = 100;

const open = {
  discovery: ({ edition, env }) => json(edition.discovery(env.ISSUER)),
  jwks: async ({ edition, env }) => json(await publicJwks(env, edition.algorithm)),
  authorize,
  sign_in: signIn,
  token,
  introspect,
  revoke,
  userinfo,
  logout,
};

const admin = {
  'users.list': users.listUsers,
  'users.create': users.createUser,
  'users.get': users.getUser,
  'users.update': users.updateUser,
  'users.delete': users.deleteUser,
  'users.suspend': users.suspendUser,
  'users.unsuspend': users.unsuspendUser,
  'users.sessions': users.listUserSessions,
  'users.revoke_all': users.revokeAll,
  'users.identities': users.listIdentities,
  'users.login_history': listLoginHistory,
  'users.assign_role': users.assignRole,
  'users.remove_role': users.removeRole,
  'roles.list': users.listRoles,
  audit: listAudit,
  'rewards.ledger': rewards.searchLedger,
  'rewards.export': rewards.exportLedger,
  'rewards.credit': rewards.creditPoints,
  'rewards.reconcile': rewards.reconcile,
};

const person = {
  'account.rewards': rewards.readBalance,
  'account.history': rewards.readHistory,
};

export default {
  fetch: (request, env) => answer(request, env, handlePublic),
};

// Reached only through a port of its own, never by the public one.
export class Control extends WorkerEntrypoint {
  fetch(request) {
    return answer(request, this.env, handleControl);
  }
}

async function answer(request, env, handle) {
  try {
    const context = {
      request,
      env,
      db: env.DB,
      edition: readEdition(env),
      url: new URL(request.url),
      ip: request.headers.get('cf-connecting-ip'),
      userAgent: request.headers.get('user-agent'),
    };
    await ensureSeeded(env.DB, context.edition);
    return await handle(context);
  } catch (error) {
    if (error instanceof ApiError) return error.toResponse();
    console.error(error.stack ?? String(error));
    return json({ error: 'internal_error', message: 'Something went wrong' }, 500);
  }
}

async function handlePublic(context) {
  applyAddressLimits(context);
  const route = matchRoute(context.request.method, context.url.pathname, context.edition.name);
  if (route === undefined) throw new ApiError(404, 'not_found', 'No such endpoint');
  if (route.name in open) return open[route.name](context);
  if (route.name in person) return person[route.name]({ ...context, user: await requirePerson(context) });
  return admin[route.name]({ ...context, admin: await requireAdmin(context) }, route.params);
}

// 100 a minute and address are documented for /api/rewards, and left open for
// /api/users.
function applyAddressLimits({ env, ip, url }) {
  const isBelow = (prefix) => url.pathname === prefix || url.pathname.startsWith(`${prefix}/`);
  if (isBelow('/api/rewards')) takeFromLimit(`rewards:${ip}`, REWARDS_PER_MINUTE);
  const usersLimit = getSettings(env).users_limit_per_minute;
  if (usersLimit > 0 && isBelow('/api/users')) takeFromLimit(`users:${ip}`, usersLimit);
}
