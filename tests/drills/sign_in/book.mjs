// What the applications hold and what became of it: every session of every one of them is
// refreshed at each stage. One that cannot be has ended, and either for a reason that is named
// here beforehand or by the proxy's fault.

import { until } from '../../harness/sandbox/client.mjs';
import { SECRETS } from '../../harness/sandbox/sandbox.mjs';

const AT_ONCE = 6;

export function openBook(scene, people) {
  const { expect } = scene;
  const book = {
    people,
    apps: [],
    /** How often each refresh token was sent. */
    sent: new Map(),
    refreshed: 0,
    ended: [],
    /** By side and person: what ends their tokens there. */
    reasons: new Map(),
    named: new Map(),
    /** Asked to sign in anew at mgPass, by person. */
    asked: new Map(),

    sessions: () => book.apps.flatMap((app) => app.sessions().map((session) => ({ app, session }))),
    note(token) { book.sent.set(token, (book.sent.get(token) ?? 0) + 1); },
    refresh({ app, session }) {
      book.note(session.refreshToken);
      return app.login.refresh(session);
    },

    /** How many of a list were refused. */
    async refused(list) {
      const results = await Promise.allSettled(list.map((one) => book.refresh(one)));
      return results.filter(({ status }) => status === 'rejected').length;
    },

    /** Both sides' tokens, each by its own application. `retired`: the side that answers nobody any more. */
    async refreshAll(stage, { retired } = {}) {
      const held = { logto: 0, mgpass: 0 };
      const lost = [];
      let [nRetired, nNamed] = [0, 0];
      const one = async (it) => {
        const { app, session: { side, subject } } = it;
        held[side] += 1;
        try {
          await book.refresh(it);
          book.refreshed += 1;
        } catch (error) {
          const text = `${error.error ?? error.code ?? error.message} ${JSON.stringify(error.cause ?? {})}`;
          const reason = book.reasons.get(`${side} ${subject}`);
          if (side === retired && /invalid_grant|logto_retired/.test(text)) nRetired += 1;
          else if (reason !== undefined) {
            nNamed += 1;
            book.named.set(reason, (book.named.get(reason) ?? 0) + 1);
            app.forget(it.session);
          } else lost.push(`${app.name} ${side} ${subject} ${text}`);
        }
      };
      const list = book.sessions();
      for (let at = 0; at < list.length; at += AT_ONCE) await Promise.all(list.slice(at, at + AT_ONCE).map(one));
      book.ended.push(...lost.map((line) => `${stage}: ${line}`));
      const told = [`lost ${lost.length}`, ...(retired ? [`${nRetired} told it is retired`] : []), ...(nNamed > 0 ? [`${nNamed} ended by name`] : [])];
      const isSo = lost.length === 0 && (!retired || nRetired === held[retired]);
      expect(`${stage}: tokens refreshed, Logto's and mgPass's`, `${held.logto} + ${held.mgpass}, ${told.join(', ')}`, retired ? `lost 0, all of ${retired}'s told` : 'lost 0', isSo);
      for (const line of lost.slice(0, 3)) console.log(`      ${line}`);
      return held;
    },

    async admin(route) {
      const answer = await fetch(`${scene.url}/_proxy/${route}`, { headers: { authorization: `Bearer ${SECRETS.ADMIN_TOKEN}` } });
      return answer.json();
    },

    /** As an operator sets a flag; it is in force when the command ends. */
    flag: (key, value) => scene.dwp(['flag', 'set', key, String(value), '--persist-to', scene.persistTo]),
    /** A percentage, which a drill changes often. */
    async percent(key, value) {
      await scene.sandbox.flag(key, String(value));
      const seen = { sign_in_percent: async () => (await book.admin('applications')).sign_in_bps, read_percent: async () => (await scene.status()).read_bps, compare_percent: async () => (await scene.status()).compare_bps };
      await until(`${key} ${value}`, async () => (await seen[key]()) === value * 100, { withinMs: 30_000, everyMs: 250 });
    },
    share: (value) => book.percent('sign_in_percent', value),

    /** The code in mgPass's newest mail to somebody. */
    async code(subject) {
      const mail = async () => (await scene.mgpass.call('GET', '/mails')).find(({ user_id: id }) => id === subject);
      return (await until('a mail', mail)).answer.code;
    },
  };
  return book;
}

/** mgPass's page in a browser that knows nothing: does it take this password? */
export async function isTakenAtMgpass(scene, { email }, password) {
  const query = new URLSearchParams({
    response_type: 'code', client_id: 'app_newsroom', redirect_uri: 'http://127.0.0.1:5999/callback', scope: 'openid', state: 's',
    code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256',
  });
  const answer = await fetch(`${scene.sandbox.mgpass.url}/authorize?${query}`, { method: 'POST', body: new URLSearchParams({ email, password }), redirect: 'manual' });
  return answer.status === 302;
}
