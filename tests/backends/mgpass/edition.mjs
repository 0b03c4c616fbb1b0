// The shapes of one edition of mgPass's documents: everything that differs
// between editions stands here, so that another one is a second object.

const e3 = {
  algorithm: 'ES256',

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
  userWithRoles: (row, roleNames) => ({ ...e3.user(row), roles: roleNames }),

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

  role: (row) => ({
    id: row.id,
    name: row.name,
    description: row.description,
    type: row.type,
    is_default: row.is_default === 1,
    scopes: JSON.parse(row.scopes),
    created_at: row.created_at,
  }),

  auditEntry: (row) => ({ ...row, metadata: parseOrNull(row.metadata) }),
  auditList: ({ rows, total }) => ({ results: rows.map(e3.auditEntry), total }),

  suspended: (row) => Response.json(e3.user(row)),
  unsuspended: () => Response.json({ success: true }),
  deleted: () => new Response(null, { status: 204 }),
  roleAssigned: () => Response.json({ success: true }, { status: 201 }),
  sessionsRevoked: (sessions, refreshTokens) =>
    Response.json({ success: true, revoked_sessions: sessions, revoked_refresh_tokens: refreshTokens }),
};

const editions = { e3 };

export function readEdition(env) {
  const edition = editions[env.EDITION];
  if (edition === undefined) throw new Error(`EDITION must be one of ${Object.keys(editions).join(', ')}`);
  return edition;
}

function isoTime(seconds) {
  return seconds === null || seconds === undefined ? null : new Date(seconds * 1000).toISOString();
}

function parseOrNull(text) {
  return text === null ? null : JSON.parse(text);
}
