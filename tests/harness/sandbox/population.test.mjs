// The generated people: the same for a seed, and as odd as they are meant to be.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { startLogto } from '../backends/logto/main.mjs';
import { userResponse } from '../backends/logto/users.mjs';
import { people } from './population.mjs';
import { controlOf } from './sandbox.mjs';

test('a seed gives the same people, another seed others', () => {
  const all = (seed) => JSON.stringify([...people({ count: 1_200, seed })]);
  assert.equal(all(7), all(7));
  assert.notEqual(all(7), all(8));
});

test('every gap and oddity is there, and Logto takes them all', async (t) => {
  const logto = await startLogto();
  t.after(() => logto.close());
  const control = controlOf(logto);
  let total = 0;
  for (const rows of people({ count: 20_000, seed: 7 })) ({ total } = await control.call('POST', '/users/rows', rows));
  assert.equal(total, 20_000);
  const users = [...logto.users.values()];
  const kinds = {
    'no email': (u) => u.primaryEmail === null,
    'no name and no user name': (u) => u.name === null && u.username === null,
    'empty name': (u) => u.name === '',
    'no way to reach them': (u) => u.primaryEmail === null && u.primaryPhone === null && Object.keys(u.identities).length === 0,
    suspended: (u) => u.isSuspended,
    'phone not E.164': (u) => u.primaryPhone !== null && !/^[1-9]\d{4,14}$/.test(u.primaryPhone),
    'several identities': (u) => Object.keys(u.identities).length > 1,
    'unknown provider': (u) => u.identities.wechat !== undefined,
    'custom data above 100 kB': (u) => JSON.stringify(u.customData).length > 50_000,
    'second factor': (u) => u.mfaVerifications?.length > 0,
    'company sign-in': (u) => u.ssoIdentities?.length > 0,
    'no password': (u) => u.password === null,
  };
  for (const [what, is] of Object.entries(kinds)) assert.ok(users.some(is), what);
  const moments = new Set(users.map(({ createdAt }) => createdAt));
  assert.ok(moments.size < users.length, 'some share a moment');
  assert.ok(!JSON.stringify(userResponse(users.find(kinds['second factor']))).includes('mfa'), 'no second factor in the user object');
});

test('the deepest page costs what the first does', async (t) => {
  const logto = await startLogto();
  t.after(() => logto.close());
  for (const rows of people({ count: 50_000, seed: 3 })) for (const row of rows) logto.users.create(row);
  // The quickest of many: pauses of a busy machine are not the listing's.
  const time = (offset) => Math.min(...Array.from({ length: 200 }, () => {
    const began = process.hrtime.bigint();
    logto.users.page(offset, 100);
    return Number(process.hrtime.bigint() - began);
  }));
  const [first, last] = [time(0), time(49_900)];
  assert.ok(last < first * 20, `first ${first} ns, last ${last} ns`);
});
