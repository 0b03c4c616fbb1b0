// The table oidc_model_instances: everything the OIDC provider stores.

import { shortUid } from './interaction.mjs';
import { openTables } from './tables.mjs';

// A used refresh token stays acceptable for this long, so that two tabs refreshing at once both succeed.
const REFRESH_LEEWAY_MS = 3_000;
const SWEEP_EVERY = 20_000;
const PREFIX = 'oidc.';

/** See shortUid: what is found again by its cookie must carry the uid that the cookie shows. */
function shortened(id, payload) {
  const uid = shortUid(id);
  return [uid, { ...payload, jti: uid, returnTo: payload.returnTo.replace(id, uid) }];
}

export function createOidcStore(tables = openTables()) {
  const models = new Map();
  const byGrant = new Map();
  const byAccount = new Map();
  const sessionByUid = new Map();
  let writes = 0;

  const model = (name) => {
    let rows = models.get(name);
    if (!rows) {
      models.set(name, rows = tables.open(PREFIX + name));
      for (const [id, { payload }] of rows) index(name, id, payload);
    }
    return rows;
  };
  const link = (index, key, name, id) => {
    let members = index.get(key);
    if (!members) index.set(key, members = new Map());
    members.set(`${name}:${id}`, [name, id]);
  };
  const unlink = (index, key, name, id) => {
    const members = index.get(key);
    members?.delete(`${name}:${id}`);
    if (members?.size === 0) index.delete(key);
  };

  function remove(name, id) {
    const row = model(name).get(id);
    if (!row) return;
    model(name).delete(id);
    const { grantId, accountId, uid } = row.payload;
    if (grantId) unlink(byGrant, grantId, name, id);
    if (accountId) unlink(byAccount, accountId, name, id);
    if (name === 'Session' && uid && sessionByUid.get(uid) === id) sessionByUid.delete(uid);
  }

  function sweep() {
    const now = Date.now();
    for (const [name, rows] of models) for (const [id, row] of rows) if (row.expiresAt !== null && row.expiresAt <= now) remove(name, id);
  }

  function index(name, id, { grantId, accountId, uid }) {
    if (grantId) link(byGrant, grantId, name, id);
    if (accountId) link(byAccount, accountId, name, id);
    if (name === 'Session' && uid) sessionByUid.set(uid, id);
  }

  function removeLinked(index, key, names) {
    for (const [name, id] of [...(index.get(key)?.values() ?? [])]) if (names.includes(name)) remove(name, id);
  }

  class Adapter {
    constructor(name) { this.name = name; }

    async upsert(longId, given, expiresIn) {
      const [id, payload] = this.name === 'Interaction' ? shortened(longId, given) : [longId, given];
      remove(this.name, id);
      model(this.name).set(id, { payload, expiresAt: expiresIn ? Date.now() + expiresIn * 1000 : null });
      index(this.name, id, payload);
      writes += 1;
      if (writes % SWEEP_EVERY === 0) sweep();
    }

    async find(id) {
      const row = model(this.name).get(id);
      if (!row) return undefined;
      if (row.consumedAt === undefined) return { ...row.payload };
      const leeway = this.name === 'RefreshToken' ? REFRESH_LEEWAY_MS : 0;
      return Date.now() - row.consumedAt < leeway ? { ...row.payload } : { ...row.payload, consumed: Math.floor(row.consumedAt / 1000) };
    }

    async findByUid(uid) { return this.find(sessionByUid.get(uid)); }

    async findByUserCode(userCode) {
      for (const [id, { payload }] of model(this.name)) if (payload.userCode === userCode) return this.find(id);
      return undefined;
    }

    async consume(id) {
      const row = model(this.name).get(id);
      // The first use counts: replays within the leeway must not prolong it.
      if (row && row.consumedAt === undefined) model(this.name).set(id, { ...row, consumedAt: Date.now() });
    }

    async destroy(id) { remove(this.name, id); }

    async revokeByGrantId(grantId) { removeLinked(byGrant, grantId, [this.name]); }
  }

  // Whatever was kept is known by its grant and its user before anybody asks.
  for (const name of tables.names()) if (name.startsWith(PREFIX)) model(name.slice(PREFIX.length));
  sweep();

  return {
    Adapter,
    /** What a suspension, a deletion or an operator ends: no session and no token of this user works any more. */
    signOutUser(accountId) { removeLinked(byAccount, accountId, ['Session', 'AccessToken', 'RefreshToken']); },
    /** Grants end and their tokens stay: what a revoked authorization leaves for an hour. */
    endGrants(accountId) { removeLinked(byAccount, accountId, ['Grant']); },
    counts: () => Object.fromEntries([...models].map(([name, rows]) => [name, rows.size])),
  };
}
