// What exists from the first request on: roles, applications, and people who
// were never at Logto. Written once per isolate and harmless to repeat.

import { hashPassword, sha256 } from './crypto.mjs';

const LONG_AGO = 1_788_249_600; // 2026-09-01T08:00:00Z
const LOOPBACK = 'http://127.0.0.1:5999';
const STANDARD_SCOPES = ['openid', 'profile', 'email', 'phone', 'offline_access'];

const roles = [
  { id: 'role_user', name: 'mgpass:user', description: 'Every person', isDefault: 1, scopes: ['profile:read'] },
  { id: 'role_admin', name: 'mgpass:admin', description: 'Administrators', isDefault: 0, scopes: ['mgpass:admin'] },
  { id: 'role_editor', name: 'newsroom:editor', description: 'Newsroom editors', isDefault: 0, scopes: ['articles:read', 'articles:write'] },
];

const applications = [
  {
    id: 'app_proxy',
    name: 'Migration proxy',
    type: 'm2m',
    secret: 'mgpass-proxy-secret',
    // ASSUMPTION: client credentials may carry mgpass:admin. The documents tie that scope to a person's role.
    scopes: ['mgpass:admin'],
  },
  {
    id: 'app_newsroom',
    name: 'Newsroom',
    type: 'web',
    secret: 'mgpass-newsroom-secret',
    scopes: [...STANDARD_SCOPES, 'profile:read', 'articles:read', 'articles:write'],
  },
  { id: 'app_spa', name: 'Reader', type: 'spa', scopes: [...STANDARD_SCOPES, 'profile:read'] },
  {
    id: 'app_console',
    name: 'Console',
    type: 'web',
    secret: 'mgpass-console-secret',
    scopes: [...STANDARD_SCOPES, 'mgpass:admin'],
  },
];

const users = [
  {
    id: 'usr_admin1',
    email: 'kojo.admin@example.test',
    name: 'Kojo Admin',
    password: 'mgpass-admin-password',
    roles: ['role_user', 'role_admin'],
  },
  {
    id: 'usr_k3v9d2',
    email: 'ama@example.test',
    name: 'Ama Boateng',
    phone: '+233200000001',
    password: 'mgpass-ama-password',
    metadata: { plan: 'press' },
    roles: ['role_user', 'role_editor'],
    identities: [['idn_4tq0', 'google', '100200300400500600', { email: 'ama@example.test', name: 'Ama Boateng' }]],
  },
  {
    id: 'usr_p8w1x5',
    email: 'yaw@example.test',
    name: 'Yaw Darko',
    password: 'mgpass-yaw-password',
    roles: ['role_user'],
  },
];

export const seededUserIds = users.map(({ id }) => id);

let seeded;

export function ensureSeeded(db, edition) {
  seeded ??= seed(db, edition).catch((error) => {
    seeded = undefined;
    throw error;
  });
  return seeded;
}

async function seed(db, edition) {
  const statements = [];
  // The migration has the newest edition's. Lowest first, and none above it: no two are ever the same.
  for (const [name, minPoints, multiplier] of edition.tiers ?? []) {
    const sql = 'UPDATE reward_tiers SET min_points = ?, multiplier = ? WHERE name = ? AND min_points > ?';
    statements.push(db.prepare(sql).bind(minPoints, multiplier, name, minPoints));
  }
  const insert = (table, row) => {
    const names = Object.keys(row);
    const sql = `INSERT OR IGNORE INTO ${table} (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`;
    statements.push(db.prepare(sql).bind(...Object.values(row)));
  };
  for (const { isDefault, scopes, ...role } of roles) {
    insert('roles', { ...role, is_default: isDefault, scopes: JSON.stringify(scopes), created_at: LONG_AGO });
  }
  for (const { id, name, type, secret, scopes } of applications) {
    const isWeb = type !== 'm2m';
    insert('applications', {
      id,
      name,
      client_type: type,
      secret_hash: secret === undefined ? null : await sha256(secret),
      redirect_uris: JSON.stringify(isWeb ? [`${LOOPBACK}/callback`] : []),
      // The second: where the proxy takes a sign-out on to Logto.
      post_logout_uris: JSON.stringify(isWeb ? [`${LOOPBACK}/`, `${LOOPBACK}/_proxy/signed-out`] : []),
      allowed_scopes: JSON.stringify(scopes),
      created_at: LONG_AGO,
    });
  }
  // Whoever is there already stays as they are, whatever tests have done to them.
  const marks = users.map(() => '?').join(', ');
  const { results } = await db
    .prepare(`SELECT id, email FROM users WHERE id IN (${marks}) OR email IN (${marks})`)
    .bind(...users.map(({ id }) => id), ...users.map(({ email }) => email))
    .all();
  const taken = new Set(results.flatMap(({ id, email }) => [id, email]));
  for (const [index, user] of users.entries()) {
    if (taken.has(user.id) || taken.has(user.email)) continue;
    insert('users', {
      id: user.id,
      email: user.email,
      email_verified: 1,
      phone: user.phone ?? null,
      name: user.name,
      metadata: JSON.stringify(user.metadata ?? {}),
      password_hash: await hashPassword(user.password),
      created_at: LONG_AGO + index,
    });
    for (const roleId of user.roles) {
      insert('user_roles', { user_id: user.id, role_id: roleId, created_at: LONG_AGO });
    }
    for (const [id, provider, providerUserId, profile] of user.identities ?? []) {
      insert('social_identities', {
        id,
        user_id: user.id,
        provider,
        provider_user_id: providerUserId,
        profile_data: JSON.stringify(profile),
        created_at: LONG_AGO,
      });
    }
  }
  await db.batch(statements);
}
