// The rewards surface of the stand-in, in both editions, and what the older edition
// shows otherwise: shapes, paths and effects of the contract's sections 4, 6, 9, 10,
// 12, 14 and 20.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { decodeProtectedHeader } from 'jose';

import { startStandIn } from './contract/start.mjs';

const E3_TOKEN = '/token';
const E2_TOKEN = '/api/token';

for (const edition of ['e3', 'e2']) {
  describe(`edition ${edition}`, () => {
    const isOld = edition === 'e2';
    let standIn;
    let issuer;
    let control;
    let db;
    let admin;
    let nth = 0;

    before(async () => {
      standIn = await startStandIn({ EDITION: edition });
      ({ issuer, control, db } = standIn);
      const answer = await fetch(issuer + (isOld ? E2_TOKEN : E3_TOKEN), {
        method: 'POST',
        headers: { authorization: `Basic ${btoa('app_proxy:mgpass-proxy-secret')}` },
        body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'mgpass:admin' }),
      });
      assert.equal(answer.status, 200);
      admin = (await answer.json()).access_token;
    });

    after(() => standIn?.close());

    // Each call from an address of its own: 100 a minute are allowed to one.
    const call = async (method, route, { body, token = admin, base = issuer, ip } = {}) => {
      nth += 1;
      const headers = { authorization: `Bearer ${token}`, 'cf-connecting-ip': ip ?? `198.51.100.${nth % 250}` };
      const answer = await fetch(base + route, { method, headers, body: body && JSON.stringify(body) });
      const text = await answer.text();
      const isJson = /^application\/json(;|$)/.test(answer.headers.get('content-type') ?? '');
      return { status: answer.status, headers: answer.headers, text, body: isJson ? JSON.parse(text) : undefined };
    };
    const controlled = (method, route, body) => call(method, route, { body, base: control });
    const createUser = async (fields = {}) => {
      nth += 1;
      const given = { email: `person${nth}@example.test`, password: 'a-long-password', name: 'Person', ...fields };
      const { status, body } = await call('POST', '/api/users', { body: given });
      assert.equal(status, 201);
      return { ...given, ...body };
    };
    const tokenOf = async (userId) => {
      const { status, body } = await controlled('POST', '/tokens', { user_id: userId, client_id: 'app_spa', scope: 'openid profile' });
      assert.equal(status, 201);
      return body.access_token;
    };
    const balanceOf = async (userId) => (await call('GET', '/api/account/rewards', { token: await tokenOf(userId) })).body;
    const credit = (userId, points, more = {}) => call('POST', '/api/rewards/credit', {
      body: isOld ? { user_id: userId, points, ...more } : { user_id: userId, points, reason: 'a test', ...more },
    });
    const thresholds = isOld ? [0, 1000, 5000, 20000] : [0, 2500, 10000, 25000];

    test('paths and algorithm are those of the edition, and the other\'s are not there', async () => {
      const { body } = await call('GET', '/.well-known/openid-configuration');
      assert.equal(body.token_endpoint, issuer + (isOld ? E2_TOKEN : E3_TOKEN));
      assert.equal(decodeProtectedHeader(admin).alg, isOld ? 'RS256' : 'ES256');
      assert.equal((await call('GET', '/.well-known/jwks.json')).body.keys[0].kty, isOld ? 'RSA' : 'EC');
      assert.equal((await call('POST', isOld ? E3_TOKEN : E2_TOKEN)).status, 404);
      assert.equal((await call('GET', isOld ? '/userinfo' : '/oidc/userinfo')).status, 404);
      const person = await tokenOf('usr_k3v9d2');
      assert.equal((await call('GET', isOld ? '/oidc/userinfo' : '/userinfo', { token: person })).body.sub, 'usr_k3v9d2');
    });

    test('a credit moves the balance, promotes at once, and nobody is demoted', async () => {
      const { id } = await createUser();
      const [bronze, silver, gold] = thresholds;
      const empty = await balanceOf(id);
      assert.deepEqual([empty.total_points, empty.lifetime_earned, empty.tier, empty.tier_details.min_points], [0, 0, 'bronze', bronze]);
      assert.deepEqual(empty.next_tier, { name: 'silver', min_points: silver, points_needed: silver });
      const first = await credit(id, silver);
      assert.equal(first.status, isOld ? 200 : 201);
      assert.deepEqual(Object.keys(first.body), [
        'id', 'user_id', 'event_type', 'platform', 'points', 'rule_version', 'reference_id', 'metadata', 'created_at',
      ]);
      assert.match(first.body.id, /^pts_/);
      assert.deepEqual([first.body.points, first.body.event_type, first.body.reference_id], [silver, 'admin_credit', null]);
      const promoted = await balanceOf(id);
      assert.deepEqual([promoted.tier, promoted.next_tier.points_needed], ['silver', gold - silver]);
      assert.equal('redemption' in promoted, !isOld);
      await db.prepare("UPDATE reward_tiers SET min_points = min_points + 1 WHERE name = 'silver'").run();
      await credit(id, 1);
      await db.prepare("UPDATE reward_tiers SET min_points = min_points - 1 WHERE name = 'silver'").run();
      assert.equal((await balanceOf(id)).tier, 'silver');
      await credit(id, 99_999);
      assert.deepEqual([(await balanceOf(id)).tier, (await balanceOf(id)).next_tier], ['platinum', null]);
    });

    test('what a credit takes is the edition\'s', async () => {
      const { id } = await createUser();
      const debit = await credit(id, -40);
      assert.equal(debit.status, isOld ? 400 : 201);
      if (!isOld) {
        const { total_points: total, lifetime_earned: earned } = await balanceOf(id);
        assert.deepEqual([total, earned], [-40, 0]);
        assert.deepEqual(debit.body.metadata, { reason: 'a test' });
        assert.equal((await call('POST', '/api/rewards/credit', { body: { user_id: id, points: 1 } })).status, 400, 'no reason');
      } else {
        const { body } = await credit(id, 5, { event_type: 'goodwill', metadata: { a: 1 } });
        assert.deepEqual([body.event_type, body.metadata], ['goodwill', '{"a":1}']);
      }
      for (const points of [0, 1.5, '5', undefined]) assert.equal((await credit(id, points)).status, 400, String(points));
      const unknown = await credit('usr_nobody', 5);
      assert.deepEqual([unknown.status, unknown.body.error], [404, 'user_not_found']);
      const person = await tokenOf(id);
      assert.equal((await call('POST', '/api/rewards/credit', { body: {}, token: person })).status, 403);
      assert.equal((await call('GET', '/api/account/rewards', { token: admin })).status, 401, 'no person');
    });

    test('reconcile overwrites a balance that the ledger does not explain, once, with an audit entry', async () => {
      const { id } = await createUser();
      await credit(id, 1_950);
      await db.prepare('UPDATE user_rewards SET total_points = 2100 WHERE user_id = ?').bind(id).run();
      assert.deepEqual((await controlled('POST', '/rewards/reconcile', {})).body.drifted, [{ user_id: id, cached: 2_100, calculated: 1_950 }]);
      const fixed = await call('POST', `/api/rewards/reconcile/${id}`);
      assert.deepEqual(fixed.body, { cached: 2_100, calculated: 1_950, drift: 150, fixed: true });
      const again = await call('POST', `/api/rewards/reconcile/${id}`);
      assert.deepEqual(again.body, { cached: 1_950, calculated: 1_950, drift: 0, fixed: false });
      assert.equal((await balanceOf(id)).lifetime_earned, 1_950);
      const { results } = (await call('GET', `/api/audit?target_id=${id}&event_type=balance.reconciled`)).body;
      assert.equal(results.length, 1);
      assert.deepEqual(results[0].metadata, { cached: 2_100, calculated: 1_950, drift: 150 });
      assert.equal((await call('POST', '/api/rewards/reconcile/usr_nobody')).status, 404);
    });

    test('the ledger is searched, paged and exported; the history is one\'s own', async () => {
      const { id, email } = await createUser({ name: 'Quote " and, comma' });
      const credits = [1, 2, 3].map((points) => ({ user_id: id, points, platform: 'newsroom', reference_id: 'the same', metadata: { points } }));
      assert.equal((await controlled('POST', '/rewards/credit', { credits })).status, 201);
      const search = async (query) => (await call('GET', `/api/rewards/ledger?${query}`)).body;
      const all = await search(`user_id=${id}`);
      assert.deepEqual(all.results.map(({ points }) => points), [3, 2, 1]);
      assert.deepEqual(Object.keys(all), isOld ? ['results', 'total', 'page'] : ['results', 'total']);
      assert.deepEqual([all.results[0].name, all.results[0].email], ['Quote " and, comma', email]);
      assert.deepEqual(all.results[0].metadata, isOld ? '{"points":3}' : { points: 3 });
      assert.equal((await search(`user_email=${email}`)).total, 3);
      assert.equal((await search('user_email=nobody@example.test')).total, 0);
      assert.equal((await search(`user_email=nobody@example.test&user_id=${id}`)).total, 3, 'ignored beside user_id');
      assert.equal((await search(`user_id=${id}&platform=elsewhere`)).total, 0);
      assert.equal((await search(`user_id=${id}&from=9999999999`)).total, 0);
      assert.deepEqual((await search(`user_id=${id}&limit=1&page=2`)).results.map(({ points }) => points), [2]);
      const csv = await call('GET', `/api/rewards/ledger/export?user_id=${id}`);
      assert.match(csv.headers.get('content-type'), /^text\/csv/);
      const lines = csv.text.trim().split('\r\n');
      assert.equal(lines[0], 'ID,User,Email,Event,Platform,Points,Date');
      assert.match(lines[1], /^pts_\w+,"Quote "" and, comma",\S+@example.test,admin_credit,newsroom,3,\d{4}-/);
      const token = await tokenOf(id);
      const history = (await call('GET', '/api/account/rewards/history?limit=2', { token })).body;
      assert.deepEqual([history.results.length, history.total], [2, 3]);
      const rest = isOld ? 'limit=2&page=2' : `limit=2&cursor=${history.results.at(-1).id}`;
      assert.deepEqual((await call('GET', `/api/account/rewards/history?${rest}`, { token })).body.results.map(({ points }) => points), [1]);
      const dump = (await controlled('GET', '/rewards')).text.trim().split('\n').map((line) => JSON.parse(line));
      const mine = dump.find(({ user_id: userId }) => userId === id);
      assert.deepEqual([mine.total_points, mine.ledger_sum, mine.n_entries, mine.tier], [6, 6, 3, 'bronze']);
      const entries = (await controlled('GET', '/rewards/ledger')).text.trim().split('\n').map((line) => JSON.parse(line));
      assert.deepEqual(entries.filter(({ user_id: userId }) => userId === id).map(({ reference_id: reference }) => reference), Array(3).fill('the same'));
    });

    test('100 calls a minute and address are answered below /api/rewards', async () => {
      const statuses = [];
      // More than two minutes' worth, as a minute may turn between them.
      for (let time = 0; time < 201; time += 1) statuses.push((await call('GET', '/api/rewards/ledger?limit=1', { ip: '192.0.2.9' })).status);
      assert.ok(statuses.includes(429));
      assert.ok(statuses.filter((status) => status === 200).length >= 100);
    });

    if (!isOld) return;

    test('a user has the older fields, and roles as objects on the single read', async () => {
      const user = await createUser({ phone: '+233200001234' });
      await db.prepare("UPDATE users SET avatar = 'https://cdn.example.test/a.png', metadata = '{\"a\":1}' WHERE id = ?").bind(user.id).run();
      const { body } = await call('GET', `/api/users/${user.id}`);
      assert.ok(Number.isInteger(body.created_at));
      assert.deepEqual(body, {
        id: user.id, email: user.email, name: 'Person', phone: '+233200001234', avatar: 'https://cdn.example.test/a.png',
        gender: null, date_of_birth: null, address: null, is_suspended: false, created_at: body.created_at, updated_at: body.created_at,
        roles: [{ id: 'role_user', name: 'mgpass:user' }],
      });
      assert.equal((await call('PATCH', `/api/users/${user.id}`, { body: { avatar: null } })).body.avatar, null);
      const first = (await call('GET', '/api/users?limit=1&page=1')).body;
      const second = (await call('GET', '/api/users?limit=1&page=2')).body;
      assert.deepEqual([Object.keys(first), second.page], [['results', 'total', 'page'], 2]);
      assert.notEqual(first.results[0].id, second.results[0].id);
      assert.equal('roles' in first.results[0], false);
    });

    test('identities, sessions, roles and audit entries are the older ones', async () => {
      assert.deepEqual((await call('GET', '/api/users/usr_k3v9d2/identities')).body, [{
        provider: 'google', provider_user_id: '100200300400500600', email: 'ama@example.test', name: 'Ama Boateng', linked_at: 1_788_249_600,
      }]);
      const user = await createUser();
      await tokenOf(user.id);
      const sessions = (await call('GET', `/api/users/${user.id}/sessions`)).body;
      assert.deepEqual(Object.keys(sessions.results[0]), ['session_id', 'user_agent', 'ip_address', 'last_active_at', 'created_at']);
      assert.equal((await call('POST', `/api/users/${user.id}/roles`, { body: { role_id: 'role_editor' } })).status, 200);
      assert.equal((await call('GET', '/api/roles')).body.total, 3);
      const audit = (await call('GET', `/api/audit?user_id=app_proxy&limit=1`)).body;
      assert.deepEqual(Object.keys(audit), ['results', 'total', 'page']);
      assert.deepEqual(Object.keys(audit.results[0]), [
        'id', 'event_type', 'actor_id', 'actor_email', 'target_type', 'target_id', 'ip_address', 'user_agent', 'metadata', 'created_at',
      ]);
    });

    test('suspension and deletion end sessions by themselves, and answer with success', async () => {
      for (const [method, route] of [['POST', '/suspend'], ['DELETE', '']]) {
        const user = await createUser();
        const token = await tokenOf(user.id);
        const answer = await call(method, `/api/users/${user.id}${route}`);
        assert.deepEqual([answer.status, answer.body], [200, { success: true }]);
        assert.equal((await call('GET', '/oidc/userinfo', { token })).status, 401);
      }
      const user = await createUser();
      await tokenOf(user.id);
      for (const count of [1, 0, 0, 0, 0, 0, 0]) {
        assert.deepEqual((await call('POST', `/api/users/${user.id}/sessions/revoke-all`)).body, { revoked_count: count });
      }
    });
  });
}
