// What it came to, judged from what the backends kept: pure, so that the drill can show that
// each judge finds what it is for (`proveJudges`).

import { clientsWrites, lost, unequal } from '../cutover/judge.mjs';
import { isStale, tally } from '../cutover/traffic.mjs';
import { ownCookies, proveJudges as proveSignIn, twice, wrongSide } from '../sign_in/judge.mjs';
import { tokenRequests } from './people.mjs';

/** Sessions that somebody but their person ended: refused to the application, refused by their own side, or revoked there. */
export function ended({ refreshes, logto, mgpass, revoked }) {
  const refused = (entries) => entries.filter(({ grant, status }) => grant === 'refresh_token' && status >= 400 && status < 500).length;
  return { toApplications: refreshes.filter(({ isDone }) => !isDone).length, byLogto: refused(logto), byMgpass: refused(mgpass), revoked };
}

/** Whoever was asked to sign in anew against whom the forecast named: people who were asked otherwise than once. */
export function besideForecast({ asked, nForecast }) {
  return asked.filter((n) => n !== 1).length + Math.abs(asked.filter((n) => n > 0).length - nForecast);
}

/** Requests at Logto, as it heard them itself, from a lease after it was left. */
export const contacts = (heard, leftAt) => heard.filter(({ at }) => at > leftAt);

const sum = (counts) => Object.values(counts).reduce((total, n) => total + n, 0);

/** The end of the table. */
export async function sumUp(scene) {
  const { traffic, people } = scene;
  const kept = await tokenRequests(scene);
  const subjects = JSON.stringify(people.map(({ subject }) => subject));
  const { n: revoked } = await scene.mgpassRow('SELECT count(*) AS n FROM sessions WHERE revoked_at IS NOT NULL AND user_id IN (SELECT value FROM json_each(?1))', subjects);
  const requests = traffic.reads.length + traffic.writes.length + traffic.registrations.length + traffic.signIns.length + scene.refreshes.length;
  const acknowledged = traffic.writes.filter(({ status }) => status >= 200 && status < 300).length + traffic.registered.size;
  const gone = await lost(scene, traffic, 'mgpass', scene.aside);
  const byProxy = ended({ refreshes: scene.refreshes, ...kept, revoked });
  const asked = people.map((person) => scene.asked.get(person) ?? 0);
  const nForecast = scene.forecast.byThemselves + scene.forecast.helped;
  const atLogto = contacts(scene.heardByLogto, scene.leftAt);
  if (atLogto.length > 0) console.error('at Logto after it was left:', atLogto.slice(0, 5));
  scene.expect('requests of applications and people', requests, 'more than 0', requests > 0);
  scene.expect('writes acknowledged', acknowledged, 'more than 0', acknowledged > 0);
  scene.expect('lost', `${gone.length} ${gone.slice(0, 3).join('; ')}`.trim(), '0', gone.length === 0);
  scene.expect('stale', `${traffic.stale} of ${traffic.reads.length} reads`, '0', traffic.stale === 0 && traffic.reads.length > 0);
  scene.expect('live tokens or sessions ended by the proxy', `${sum(byProxy)} of ${scene.refreshes.length} refreshes`, '0', sum(byProxy) === 0 && scene.refreshes.length > 0);
  scene.expect('new sign-ins against the forecast', `${asked.filter((n) => n > 0).length} of ${nForecast}`, 'each once', besideForecast({ asked, nForecast }) === 0);
  scene.expect('codes and refresh tokens presented twice, or at the wrong side', `${twice(kept.logto, scene.sent) + twice(kept.mgpass, scene.sent)}, ${wrongSide(kept.logto, kept.mgpass)}`, '0, 0', twice(kept.logto, scene.sent) + twice(kept.mgpass, scene.sent) + wrongSide(kept.logto, kept.mgpass) === 0);
  scene.expect("the proxy's own cookies at a backend", ownCookies(kept.kept), '0', ownCookies(kept.kept) === 0);
  scene.expect('Logto contacted after cleanup, from a lease after the move', atLogto.length, '0', atLogto.length === 0 && scene.heardByLogto.length > 0);
  scene.rows.push({ what: 'writes by answer', measured: tally(traffic.writes), demanded: '', isSo: true });
}

const book = (more) => ({ acknowledged: new Map(), created: new Map(), registered: new Map(), deleted: new Set(), writes: [], ...more });
const rows = (list) => ({ users: new Map(), mgpassRows: async () => list });

/** Each finds what it is for, on input that is made up. */
export async function proveJudges() {
  const done = { grant: 'refresh_token', status: 200 };
  const refused = { ...done, status: 400 };
  const none = { refreshes: [{ isDone: true }], logto: [done], mgpass: [done], revoked: 0 };
  const v2 = book({ acknowledged: new Map([['a', 2]]) });
  const write = (caller, path = '/api/users/a') => ({ atLogto: [{ at: 5, method: 'PATCH', path, caller }] });
  const row = { id: 'a', email: 'a@x', phone: null, name: 'A', avatar: null, is_suspended: 0, metadata: '{}', created_at: 1, last_sign_in_at: null, identities: '[]' };
  const user = { id: 'a', primaryEmail: 'a@x', primaryPhone: null, name: 'A', avatar: null, isSuspended: false, customData: {}, createdAt: 1_000, lastSignInAt: null, identities: {} };
  const both = (name) => ({ sandbox: { logto: { users: new Map([['a', { ...user, name }]]) }, databases: { mgpass: { prepare: () => ({ bind: () => ({ all: async () => ({ results: [row] }) }) }) } } } });
  const cases = [
    [sum(ended(none)), 0],
    [sum(ended({ ...none, refreshes: [{ isDone: false }] })), 1],
    [sum(ended({ ...none, logto: [refused] })), 1],
    [sum(ended({ ...none, mgpass: [refused] })), 1],
    [sum(ended({ ...none, revoked: 1 })), 1],
    [besideForecast({ asked: [1, 1], nForecast: 2 }), 0],
    [besideForecast({ asked: [1, 2], nForecast: 2 }), 1],
    [besideForecast({ asked: [1, 0], nForecast: 2 }), 2],
    [contacts([{ at: 4 }], 4).length, 0], [contacts([{ at: 4 }, { at: 5 }], 4).length, 1],
    [isStale('{"name":"v1"}', 2), true], [isStale('{"name":"v2"}', 2), false],
    [(await lost(rows([{ id: 'a', name: 'v2' }]), v2, 'mgpass')).length, 0],
    [(await lost(rows([{ id: 'a', name: 'v1' }]), v2, 'mgpass')).length, 1],
    [(await lost(rows([]), book({ created: new Map([['b', 'x']]) }), 'mgpass')).length, 1],
    [(await lost(rows([]), book({ registered: new Map([['x', 'b']]) }), 'mgpass')).length, 1],
    [(await lost(rows([{ id: 'c' }]), book({ writes: [{ kind: 'delete', id: 'c', status: 204 }] }), 'mgpass')).length, 1],
    [clientsWrites(write('drillback000000000000'), 0).length, 0],
    [clientsWrites(write('somebody'), 0).length, 1],
    [clientsWrites(write('somebody'), 9).length, 0],
    [(await unequal(both('A'))).ids.length, 0],
    [(await unequal(both('B'))).ids.length, 1],
    [proveSignIn(), true],
  ];
  for (const [index, [found, expected]] of cases.entries()) if (found !== expected) console.error(`judge ${index}: ${found}, expected ${expected}`);
  return cases.every(([found, expected]) => found === expected);
}
