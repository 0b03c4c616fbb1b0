-- What the proxy assumes of mgPass's own D1. ASSUMPTION: no document of mgPass
-- publishes its schema; the names follow its migration guide (`avatar`,
-- `metadata`, the social identities table) and its API (docs/assumptions.md).
-- These files build the stand-in's database. They are never applied to a real
-- mgPass: there, the preflight compares them with what it finds and refuses to
-- write, naming each difference.
--
-- Times are epoch seconds, flags are 0 or 1, JSON is text.

CREATE TABLE users (
  id                TEXT PRIMARY KEY,
  email             TEXT COLLATE NOCASE UNIQUE,
  email_verified    INTEGER NOT NULL DEFAULT 0 CHECK (email_verified IN (0, 1)),
  phone             TEXT UNIQUE,
  phone_verified    INTEGER NOT NULL DEFAULT 0 CHECK (phone_verified IN (0, 1)),
  name              TEXT,
  avatar            TEXT,
  metadata          TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(metadata)),
  password_hash     TEXT,
  is_suspended      INTEGER NOT NULL DEFAULT 0 CHECK (is_suspended IN (0, 1)),
  suspension_reason TEXT,
  created_at        INTEGER NOT NULL,
  last_sign_in_at   INTEGER,
  deleted_at        INTEGER
) STRICT;

CREATE INDEX users_by_creation ON users (created_at, id);

CREATE TABLE social_identities (
  id               TEXT PRIMARY KEY,
  user_id          TEXT NOT NULL REFERENCES users (id),
  provider         TEXT NOT NULL,
  provider_user_id TEXT NOT NULL,
  profile_data     TEXT CHECK (profile_data IS NULL OR json_valid(profile_data)),
  created_at       INTEGER NOT NULL,
  UNIQUE (provider, provider_user_id)
) STRICT;

CREATE INDEX social_identities_by_user ON social_identities (user_id);

CREATE TABLE roles (
  id          TEXT PRIMARY KEY,
  name        TEXT NOT NULL UNIQUE,
  description TEXT,
  type        TEXT NOT NULL DEFAULT 'user' CHECK (type IN ('user', 'm2m')),
  is_default  INTEGER NOT NULL DEFAULT 0 CHECK (is_default IN (0, 1)),
  scopes      TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(scopes)),
  created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE user_roles (
  user_id    TEXT NOT NULL REFERENCES users (id),
  role_id    TEXT NOT NULL REFERENCES roles (id),
  created_at INTEGER NOT NULL,
  PRIMARY KEY (user_id, role_id)
) STRICT;

CREATE TABLE audit_logs (
  id          TEXT PRIMARY KEY,
  event_type  TEXT NOT NULL,
  actor_type  TEXT,
  actor_id    TEXT,
  actor_name  TEXT,
  target_type TEXT,
  target_id   TEXT,
  target_name TEXT,
  client_id   TEXT,
  ip_address  TEXT,
  user_agent  TEXT,
  metadata    TEXT CHECK (metadata IS NULL OR json_valid(metadata)),
  created_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX audit_logs_by_target ON audit_logs (target_id, created_at);
CREATE INDEX audit_logs_by_time ON audit_logs (created_at);
