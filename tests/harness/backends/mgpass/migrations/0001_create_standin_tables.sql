-- What the stand-in needs besides the tables of schema/mgpass. ASSUMPTION: all
-- of it; how mgPass stores these is not published. None refers to users, so
-- that user rows may be written and removed by others.
--
-- Times are epoch seconds unless the name says _ms. Secrets, codes, cookies and
-- refresh tokens are kept as SHA-256.

CREATE TABLE applications (
  id                     TEXT PRIMARY KEY,
  name                   TEXT NOT NULL,
  client_type            TEXT NOT NULL CHECK (client_type IN ('web', 'spa', 'native', 'm2m')),
  secret_hash            TEXT,
  redirect_uris          TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(redirect_uris)),
  post_logout_uris       TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(post_logout_uris)),
  allowed_scopes         TEXT NOT NULL CHECK (json_valid(allowed_scopes)),
  access_token_ttl       INTEGER NOT NULL DEFAULT 3600,
  refresh_token_ttl      INTEGER NOT NULL DEFAULT 2592000,
  refresh_token_rotation INTEGER NOT NULL DEFAULT 1 CHECK (refresh_token_rotation IN (0, 1)),
  logo_url               TEXT,
  is_active              INTEGER NOT NULL DEFAULT 1 CHECK (is_active IN (0, 1)),
  created_at             INTEGER NOT NULL
) STRICT;

-- One per browser that signed in: the cookie mgpass_session.
CREATE TABLE browser_sessions (
  id_hash    TEXT PRIMARY KEY,
  user_id    TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  ended_at   INTEGER
) STRICT;

CREATE INDEX browser_sessions_by_user ON browser_sessions (user_id);

-- One per application a person uses in one browser: what the API lists.
CREATE TABLE sessions (
  id             TEXT PRIMARY KEY,
  user_id        TEXT NOT NULL,
  client_id      TEXT NOT NULL,
  browser_hash   TEXT,
  ip_address     TEXT,
  user_agent     TEXT,
  created_at     INTEGER NOT NULL,
  last_active_at INTEGER NOT NULL,
  expires_at     INTEGER NOT NULL,
  revoked_at     INTEGER
) STRICT;

CREATE INDEX sessions_by_user ON sessions (user_id, created_at);

CREATE TABLE consents (
  user_id    TEXT NOT NULL,
  client_id  TEXT NOT NULL,
  scopes     TEXT NOT NULL CHECK (json_valid(scopes)),
  created_at INTEGER NOT NULL,
  PRIMARY KEY (user_id, client_id)
) STRICT;

CREATE TABLE authorization_codes (
  code_hash      TEXT PRIMARY KEY,
  client_id      TEXT NOT NULL,
  redirect_uri   TEXT NOT NULL,
  user_id        TEXT NOT NULL,
  session_id     TEXT NOT NULL,
  scope          TEXT NOT NULL,
  nonce          TEXT,
  code_challenge TEXT,
  expires_at     INTEGER NOT NULL,
  used_at        INTEGER
) STRICT;

-- Which session an access token belongs to; the token itself carries no session id.
CREATE TABLE access_tokens (
  jti        TEXT PRIMARY KEY,
  session_id TEXT NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE refresh_tokens (
  token_hash    TEXT PRIMARY KEY,
  session_id    TEXT NOT NULL,
  user_id       TEXT NOT NULL,
  client_id     TEXT NOT NULL,
  scope         TEXT NOT NULL,
  created_at    INTEGER NOT NULL,
  expires_at    INTEGER NOT NULL,
  retired_at_ms INTEGER,
  revoked_at    INTEGER
) STRICT;

CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_by_user ON refresh_tokens (user_id);

CREATE TABLE signing_keys (
  kid         TEXT PRIMARY KEY,
  private_jwk TEXT NOT NULL CHECK (json_valid(private_jwk)),
  created_at  INTEGER NOT NULL
) STRICT;

-- Public keys of another issuer whose tokens are still accepted:
--   stopped_at    that issuer signed nothing later than this
--   max_lifetime  longest exp - iat it ever gave
--   sunset        no token of it is accepted from then on
CREATE TABLE imported_keys (
  issuer       TEXT NOT NULL,
  kid          TEXT NOT NULL,
  public_jwk   TEXT NOT NULL CHECK (json_valid(public_jwk)),
  alg          TEXT NOT NULL,
  stopped_at   INTEGER,
  max_lifetime INTEGER,
  sunset       INTEGER,
  created_at   INTEGER NOT NULL,
  PRIMARY KEY (issuer, kid)
) STRICT;

-- Who was asked to set a first password, and the code that proves their address.
CREATE TABLE password_prompts (
  user_id    TEXT PRIMARY KEY,
  code_hash  TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  n_tries    INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Stands for people's mailboxes: what was sent to them, codes in clear.
CREATE TABLE mails (
  user_id TEXT NOT NULL,
  subject TEXT NOT NULL,
  code    TEXT,
  sent_at INTEGER NOT NULL
) STRICT;
