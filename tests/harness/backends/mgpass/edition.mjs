// The shapes of one edition of mgPass's documents: everything that differs
// between editions stands here, so that another one is a second object.

const e3 = {
  name: 'e3',
  algorithm: 'ES256',
  // A refresh token only where offline_access was asked for; a lost race for one is harmless.
  // What an update takes: the verified marks, or the avatar.
  takesAvatar: false,
  needsOfflineAccess: true,
  hasRefreshGrace: true,

  // The documents give no field list for this edition. ASSUMPTION: the older
  // editions' fields with this edition's paths.
  discovery: (issuer) => ({
    issuer,
    authorization_endpoint: `${issuer}/authorize`,
    token_endpoint: `${issuer}/token`,
    userinfo_endpoint: `${issuer}/userinfo`,
    jwks_uri: `${issuer}/.well-known/jwks.json`,
    scopes_supported: ['openid', 'profile', 'email', 'phone', 'offline_access'],
    response_types_supported: ['code'],
    grant_types_supported: ['authorization_code', 'refresh_token', 'client_credentials'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['ES256'],
    code_challenge_methods_supported: ['S256'],
  }),

  user: (row) => ({
    id: row.id,
    email: row.email,
    email_verified: row.email_verified === 1,
    phone: row.phone,
    phone_verified: row.phone_verified === 1,
    name: row.name,
    avatar_url: row.avatar,
    custom_data: JSON.parse(row.metadata),
    is_suspended: row.is_suspended === 1,
    suspension_reason: row.suspension_reason,
    created_at: isoTime(row.created_at),
    last_sign_in_at: isoTime(row.last_sign_in_at ?? row.newest_session_at),
    deleted_at: isoTime(row.deleted_at),
  }),

  // `roles` is on the single read only.
  userWithRoles: (row, roles) => ({ ...e3.user(row), roles: roles.map(({ name }) => name) }),

  isListByCursor: true,
  listLimit: 50,
  userList: ({ rows, total, page, limit, hasMore }) => ({
    data: rows.map(e3.user),
    total,
    page,
    limit,
    has_more: hasMore,
  }),

  identity: (row) => ({
    id: row.id,
    user_id: row.user_id,
    provider: row.provider,
    provider_user_id: row.provider_user_id,
    profile_data: parseOrNull(row.profile_data),
    created_at: row.created_at,
  }),

  identityList: (rows) => rows.map(e3.identity),

  sessionList: (rows) => rows.map(e3.session),
  session: (row) => ({
    id: row.id,
    client_id: row.client_id,
    client_name: row.client_name,
    client_logo_url: row.client_logo_url,
    device_info: row.user_agent === null ? null : { user_agent: row.user_agent },
    ip_address: row.ip_address,
    last_active_at: row.last_active_at,
    created_at: row.created_at,
  }),

  roleList: (rows) => rows.map(e3.role),
  role: (row) => ({
    id: row.id,
    name: row.name,
    description: row.description,
    type: row.type,
    is_default: row.is_default === 1,
    scopes: JSON.parse(row.scopes),
    created_at: row.created_at,
  }),

  audit: { limit: 20, actor: 'actor_id' },
  auditEntry: ({ actor_email: _, ...row }) => ({ ...row, metadata: parseOrNull(row.metadata) }),
  auditList: ({ rows, total }) => ({ results: rows.map(e3.auditEntry), total }),
  signIn: (row) => e3.auditEntry(row),

  // Without an active configuration there is nothing to redeem.
  balance: ({ row, tier, next }) => ({ ...balance({ row, tier, next }), redemption: null }),
  ledgerEntry: (row) => ({ ...row, metadata: parseOrNull(row.metadata) }),
  ledgerList: ({ entries, total }) => ({ results: entries, total }),
  history: { limit: 50, maximum: 200, isByCursor: true },
  // ASSUMPTION: the entry is an admin_credit of no platform, with the reason as its metadata.
  credit: ({ user_id: userId, points, reason }) =>
    isText(userId) && Number.isSafeInteger(points) && points !== 0 && isText(reason)
      ? { userId, points, metadata: { reason } }
      : undefined,
  creditStatus: 201,

  // Tokens live on until revoke-all.
  endsSessions: false,
  suspended: (row) => Response.json(e3.user(row)),
  unsuspended: () => Response.json({ success: true }),
  deleted: () => new Response(null, { status: 204 }),
  roleAssigned: () => Response.json({ success: true }, { status: 201 }),
  revokeAllPerMinute: 5,
  sessionsRevoked: (sessions, refreshTokens) =>
    Response.json({ success: true, revoked_sessions: sessions, revoked_refresh_tokens: refreshTokens }),
};

// E1 differs from it in host names alone, as far as this surface goes.
const e2 = {
  name: 'e2',
  algorithm: 'RS256',
  takesAvatar: true,
  needsOfflineAccess: false,
  hasRefreshGrace: false,

  discovery: (issuer) => ({
    ...e3.discovery(issuer),
    authorization_endpoint: `${issuer}/oidc/auth`,
    token_endpoint: `${issuer}/api/token`,
    userinfo_endpoint: `${issuer}/oidc/userinfo`,
    id_token_signing_alg_values_supported: ['RS256'],
  }),

  // No metadata, no verification flags, no time of the last sign-in. ASSUMPTION:
  // updated_at is the creation's time; the personal fields have no source here.
  user: (row) => ({
    id: row.id,
    email: row.email,
    name: row.name,
    phone: row.phone,
    avatar: row.avatar,
    gender: null,
    date_of_birth: null,
    address: null,
    is_suspended: row.is_suspended === 1,
    created_at: row.created_at,
    updated_at: row.created_at,
  }),
  userWithRoles: (row, roles) => ({ ...e2.user(row), roles: roles.map(({ id, name }) => ({ id, name })) }),
  isListByCursor: false,
  listLimit: 20,
  userList: ({ rows, total, page }) => ({ results: rows.map(e2.user), total, page }),

  identityList: (rows) => rows.map(e2.identity),
  identity: (row) => {
    const profile = parseOrNull(row.profile_data) ?? {};
    const { provider, provider_user_id, created_at: linkedAt } = row;
    return { provider, provider_user_id, email: profile.email ?? null, name: profile.name ?? null, linked_at: linkedAt };
  },

  sessionList: (rows) => ({ results: rows.map(e2.session) }),
  session: (row) => ({
    session_id: row.id,
    user_agent: row.user_agent,
    ip_address: row.ip_address,
    last_active_at: row.last_active_at,
    created_at: row.created_at,
  }),

  roleList: (rows) => ({ results: rows.map(e2.role), total: rows.length }),
  role: (row) => ({ ...e3.role(row), type: row.type === 'm2m' ? 'machine_to_machine' : row.type }),

  audit: { limit: 50, actor: 'user_id' },
  auditEntry: (row) => ({
    id: row.id,
    event_type: row.event_type,
    actor_id: row.actor_id,
    actor_email: row.actor_email,
    target_type: row.target_type,
    target_id: row.target_id,
    ip_address: row.ip_address,
    user_agent: row.user_agent,
    metadata: parseOrNull(row.metadata),
    created_at: row.created_at,
  }),
  auditList: ({ rows, total, page }) => ({ results: rows.map(e2.auditEntry), total, page }),
  signIn: (row) => ({
    event_type: row.event_type,
    ip_address: row.ip_address,
    user_agent: row.user_agent,
    method: parseOrNull(row.metadata)?.method ?? null,
    created_at: row.created_at,
  }),

  balance,
  // Metadata is the text itself.
  ledgerEntry: (row) => row,
  ledgerList: ({ entries, total, page }) => ({ results: entries, total, page }),
  history: { limit: 20, maximum: 100, isByCursor: false },
  credit: ({ user_id: userId, points, event_type: eventType = 'admin_credit', metadata = null }) =>
    isText(userId) && Number.isSafeInteger(points) && points >= 1 && isText(eventType) && isObjectOrNull(metadata)
      ? { userId, points, eventType, metadata }
      : undefined,
  // The answer's body is not documented: ASSUMPTION, the entry.
  creditStatus: 200,
  tiers: [['bronze', 0, 1], ['silver', 1000, 1.5], ['gold', 5000, 2], ['platinum', 20000, 3]],

  endsSessions: true,
  suspended: () => Response.json({ success: true }),
  unsuspended: () => Response.json({ success: true }),
  deleted: () => Response.json({ success: true }),
  roleAssigned: () => Response.json({ success: true }),
  revokeAllPerMinute: Infinity,
  sessionsRevoked: (sessions) => Response.json({ revoked_count: sessions }),
};

const editions = { e3, e2 };

export function readEdition(env) {
  const edition = editions[env.EDITION];
  if (edition === undefined) throw new Error(`EDITION must be one of ${Object.keys(editions).join(', ')}`);
  return edition;
}

function balance({ row, tier, next }) {
  return {
    total_points: row.total_points,
    lifetime_earned: row.lifetime_earned,
    tier: row.tier,
    tier_details: { name: tier.name, min_points: tier.min_points, multiplier: tier.multiplier },
    next_tier: next
      ? { name: next.name, min_points: next.min_points, points_needed: Math.max(next.min_points - row.lifetime_earned, 0) }
      : null,
  };
}

function isText(value) {
  return typeof value === 'string' && value !== '';
}

function isObjectOrNull(value) {
  return typeof value === 'object' && !Array.isArray(value);
}

function isoTime(seconds) {
  return seconds === null || seconds === undefined ? null : new Date(seconds * 1000).toISOString();
}

function parseOrNull(text) {
  return text === null ? null : JSON.parse(text);
}
