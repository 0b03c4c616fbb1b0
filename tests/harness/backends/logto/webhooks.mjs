// Outgoing webhooks: signed, fire-and-forget, each delivery tried exactly once. The real code asks for retries, but
// its HTTP client does not retry POST, so one attempt is what a receiver sees.

import { createHmac } from 'node:crypto';
import { randomId, randomToken } from './errors.mjs';
import { openTables } from './tables.mjs';

const allEvents = [
  'PostRegister', 'PostSignIn', 'PostResetPassword', 'User.Created', 'User.Deleted', 'User.Data.Updated', 'User.SuspensionStatus.Updated',
];

export const signature = (signingKey, body) => createHmac('sha256', signingKey).update(body).digest('hex');

export function createWebhooks(tables = openTables()) {
  const hooks = tables.open('hooks');
  const stats = { sent: 0, failed: 0, dropped: 0 };
  // Set on the control port: Logto's deliveries do get lost.
  const settings = { drop: 0, delay_ms: 0 };
  const pending = new Set();

  async function deliver(hook, payload) {
    if (settings.drop > 0 && Math.random() < settings.drop) { stats.dropped += 1; return; }
    const body = JSON.stringify({ ...payload, hookId: hook.id });
    try {
      if (settings.delay_ms > 0) await new Promise((resolve) => setTimeout(resolve, settings.delay_ms));
      const response = await fetch(hook.config.url, {
        method: 'POST',
        headers: {
          'logto-signature-sha-256': signature(hook.signingKey, body),
          'user-agent': 'Logto (https://logto.io/)',
          ...hook.config.headers,
          'content-type': 'application/json',
        },
        body,
        signal: AbortSignal.timeout(10_000),
      });
      await response.arrayBuffer();
      if (response.ok) stats.sent += 1;
      else stats.failed += 1;
    } catch {
      stats.failed += 1;
    }
  }

  return {
    stats,
    settings,
    add({ name = 'hook', events = allEvents, config, url, headers, signingKey = randomToken(32), enabled = true }) {
      const hook = {
        tenantId: 'default', id: randomId(21), name, event: null, events, config: config ?? { url, ...(headers ? { headers } : {}) },
        signingKey, enabled, createdAt: Date.now(),
      };
      hooks.set(hook.id, hook);
      return hook;
    },
    list: () => [...hooks.values()],
    get: (id) => hooks.get(id),
    delete: (id) => hooks.delete(id),
    /** `payload` is complete but for hookId. Never awaited by whoever calls it. */
    trigger(payload) {
      for (const hook of hooks.values()) {
        if (!hook.enabled || !hook.events.includes(payload.event)) continue;
        const delivery = deliver(hook, payload).finally(() => pending.delete(delivery));
        pending.add(delivery);
      }
    },
    settled: () => Promise.allSettled([...pending]),
  };
}

/** Data events of the Management API; a deleted user's data comes before the request's fields, as recorded. */
export function managementEvent(ctx, event, data) {
  const head = { event, createdAt: new Date().toISOString(), userAgent: ctx.get('user-agent'), ip: ctx.ip };
  const request = {
    path: ctx.state.apiPath, method: ctx.method, status: ctx.status, params: ctx.params, matchedRoute: ctx.state.matchedRoute,
  };
  return event === 'User.Deleted' ? { ...head, data, ...request } : { ...head, ...request, data };
}

/** Data events of the Account API have neither route nor interaction. */
export const accountEvent = (ctx, event, data) => ({
  event, createdAt: new Date().toISOString(), userAgent: ctx.get('user-agent'), ip: ctx.ip, data,
});

const applicationInfo = ({ id, type, name, description }) => ({ id, type, name, description });

/** Data events of the Experience API; sessionId is the interaction's uid. */
export const experienceDataEvent = (ctx, event, { interactionEvent, interaction, application }, data) => ({
  event, createdAt: new Date().toISOString(), interactionEvent, userAgent: ctx.get('user-agent'),
  applicationId: application.id, sessionId: interaction.uid, ip: ctx.ip, application: applicationInfo(application), data,
});

/** PostRegister, PostSignIn, PostResetPassword. */
export const interactionHookEvent = (ctx, event, { interactionEvent, interaction, application }, user) => ({
  event, interactionEvent, createdAt: new Date().toISOString(), sessionId: interaction.uid, userAgent: ctx.get('user-agent'),
  userId: user.id, userIp: ctx.ip, user, application: applicationInfo(application),
});
