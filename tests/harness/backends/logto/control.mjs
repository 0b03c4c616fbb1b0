// What the stand-in adds to the front's control port:
//   POST /users/bulk {count, prefix?, spread_ms?, seed?}  generates users, see below; with a seed their ids are the same each time; answers {created, total}
//   POST /users/rows [row, ...]                     users as UserStore.create takes them, in one go or none; answers {created, total}
//   GET  /users/dump                                all users, JSON lines, as GET /api/users/:id shows them
//   GET  /stats                                     {users, oidc: {model: rows}, webhooks: {sent, failed, dropped}}
//   GET  /codes?to=address                          verification codes that would have been sent, newest last
//   PUT  /listing {shuffle_ties}                    pages give rows of one created_at in another order each time
//   DELETE /grants?user=id                          ends the user's grants and leaves their access tokens
//   GET|PUT /webhooks {drop: 0..1, delay_ms}        loses or delays deliveries

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { digests, userResponse } from './users.mjs';

const names = ['Anna Schmidt', 'Łukasz Żółć', 'José Ángel Núñez', '山田 太郎', 'Мария Иванова', 'Zoë 🦊', "O'Neill", 'Þóra Björk', 'محمد علي', 'Ngô Bảo'];

/** The i-th generated user: the gaps and oddities of a real table, the same for the same prefix and number. */
export function generatedUser(prefix, i, createdAt) {
  const name = names[i % names.length];
  const user = { createdAt, updatedAt: createdAt + (i % 5) * 1_000 };
  if (i % 10 !== 3) user.username = `${prefix}_${i}`;
  if (i % 3 !== 1) user.primaryEmail = `${i % 7 === 0 ? 'Mixed.Case.' : ''}${prefix}.${i}@example.test`;
  if (i % 4 === 2) user.primaryPhone = `1415${String(i).padStart(7, '0')}`;
  if (i % 6 !== 5) user.name = `${name} ${i}`;
  if (i % 5 === 0) user.avatar = `https://cdn.example.test/${prefix}/${i}.png`;
  if (i % 2 === 0) user.customData = { plan: i % 4 === 0 ? 'pro' : 'free', 10: 'ten', 9: i, nested: { zz: [1, { b: 2, a: 1 }], a: null } };
  if (i % 8 === 1) user.identities = { google: { userId: `google-${prefix}-${i}`, details: { id: `google-${prefix}-${i}`, name, email: `${prefix}.${i}@example.test` } } };
  if (i % 16 === 5) user.identities = { ...user.identities, github: { userId: `gh-${prefix}-${i}` } };
  if (i % 9 === 4) user.profile = { locale: 'en', givenName: name.split(' ')[0], familyName: 'Example', address: { country: 'DE', locality: 'Köln' } };
  if (i % 50 === 7) user.isSuspended = true;
  if (i % 3 === 0) user.lastSignInAt = createdAt + 60_000;
  // Unsalted SHA-256 of "password", so that nothing slow runs a hundred thousand times.
  if (i % 4 !== 3) user.password = { digest: '5e884898da28047151d0e56f8dc6292773603d0d6aabbd2ae85bd2cba4c6e0ee', algorithm: 'SHA256' };
  return user;
}

const json = (res, value, status = 200) => {
  res.writeHead(status, { 'content-type': 'application/json; charset=utf-8' });
  res.end(JSON.stringify(value));
  return true;
};

export function controlRoutes({ store, oidcStore, webhooks, codes }) {
  let batches = 0;
  return async (req, res, url, readBody) => {
    switch (`${req.method} ${url.pathname}`) {
      case 'POST /users/bulk': {
        const { count, prefix = `bulk${batches}`, spread_ms: spread = 60_000, seed } = await readBody() ?? {};
        if (!Number.isInteger(count) || count < 1) return json(res, { error: 'count must be a positive integer' }, 400);
        batches += 1;
        const now = Date.now();
        for (let i = 0; i < count; i += 1) {
          // Several share a millisecond when there are more users than milliseconds, as after a bulk import.
          const id = seed === undefined ? undefined : createHash('sha256').update(`${seed} ${i}`).digest('hex').slice(0, 12);
          store.create({ id, ...generatedUser(prefix, i, now - spread + Math.floor((i * spread) / count)) });
          if (i % 5_000 === 4_999) await new Promise((resolve) => setImmediate(resolve));
        }
        return json(res, { created: count, total: store.size });
      }
      case 'POST /users/rows': {
        const rows = await readBody() ?? [];
        const created = [];
        try {
          for (const row of rows) created.push(store.create(row));
        } catch (error) {
          for (const { id } of created) store.delete(id);
          return json(res, { error: error.message, code: error.body?.code, row: created.length }, 422);
        }
        return json(res, { created: created.length, total: store.size });
      }
      case 'PUT /listing':
        store.shufflesTies = (await readBody())?.shuffle_ties === true;
        return json(res, { shuffle_ties: store.shufflesTies });
      case 'GET /users/dump': {
        res.writeHead(200, { 'content-type': 'application/x-ndjson; charset=utf-8' });
        let chunk = '';
        for (const user of [...store.values()]) {
          chunk += `${JSON.stringify({ ...userResponse(user), ...digests(user) })}\n`;
          if (chunk.length > 65_536) {
            if (!res.write(chunk)) await once(res, 'drain');
            chunk = '';
          }
        }
        res.end(chunk);
        return true;
      }
      case 'GET /stats':
        return json(res, { users: store.size, oidc: oidcStore.counts(), webhooks: webhooks.stats });
      case 'GET /codes': {
        const to = url.searchParams.get('to');
        return json(res, codes.list().filter((entry) => to === null || entry.to === to));
      }
      case 'DELETE /grants':
        oidcStore.endGrants(url.searchParams.get('user'));
        return json(res, {});
      case 'GET /webhooks': return json(res, webhooks.settings);
      case 'PUT /webhooks': return json(res, Object.assign(webhooks.settings, await readBody()));
      default: return false;
    }
  };
}
