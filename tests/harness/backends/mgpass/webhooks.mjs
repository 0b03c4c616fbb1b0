// mgPass's outgoing webhooks: what its API has done goes out as its documents say, signed
// over the raw body, tried four times. By the audit log, since each event has its entry
// there; rows that somebody writes past the API fire none (as with any application).
//
//   const hooks = startWebhooks({ database, url, secret });
//   hooks.isSilent = true      a webhook that was switched off at mgPass
//   await hooks.close()

import { createHmac } from 'node:crypto';

const POLL_MS = 200;
const DELAYS_MS = [0, 1_000, 5_000, 25_000];
// The audit log's name of an event, and the webhook's where it is another. There is none
// for changes of a profile.
const NAMES = { 'user.created': 'user.register', 'user.updated': undefined };

export function startWebhooks({ database, url, secret }) {
  const hooks = { isSilent: false, sent: 0, failed: 0 };
  let last;
  let isOpen = true;
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  async function deliver(entry) {
    const type = entry.event_type in NAMES ? NAMES[entry.event_type] : entry.event_type;
    if (type === undefined || hooks.isSilent) return;
    const body = JSON.stringify({
      event_id: `whe_${entry.id}`,
      event_type: type,
      occurred_at: new Date(entry.created_at * 1_000).toISOString(),
      data: { user_id: entry.target_id, client_id: entry.client_id },
    });
    const signature = createHmac('sha256', secret).update(body).digest('hex');
    const headers = { 'content-type': 'application/json', 'x-webhook-signature': signature };
    for (const delay of DELAYS_MS) {
      await pause(delay);
      const answer = await fetch(url, { method: 'POST', headers, body }).catch(() => undefined);
      if (answer?.ok) {
        hooks.sent += 1;
        return;
      }
    }
    hooks.failed += 1;
  }

  const watch = (async () => {
    while (isOpen) {
      // A database that is busy is asked again.
      await look().catch(() => {});
      await pause(POLL_MS);
    }
  })();

  async function look() {
    if (last === undefined) {
      last = (await database.prepare('SELECT coalesce(max(rowid), 0) AS last FROM audit_logs').first('last'));
    }
    const { results } = await database
      .prepare("SELECT rowid AS place, * FROM audit_logs WHERE rowid > ? AND actor_id IS NOT 'logto_mirror' ORDER BY rowid")
      .bind(last)
      .all();
    for (const entry of results) {
      last = Math.max(last, entry.place);
      deliver(entry);
    }
  }

  hooks.close = async () => {
    isOpen = false;
    await watch;
  };
  return hooks;
}
