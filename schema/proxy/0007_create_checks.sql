-- What the checklist goes by, and nothing of anybody's: codes, counts, ids of users.
--
-- Times are epoch milliseconds by this database's clock.

-- What the checks that ask a backend found, the newest of each, as JSON; judged anew
-- whenever it is shown.
CREATE TABLE check_facts (
  name  TEXT PRIMARY KEY CHECK (name IN ('sign_in', 'tokens', 'console', 'audit')),
  at    INTEGER NOT NULL,
  facts TEXT NOT NULL CHECK (json_valid(facts))
) STRICT, WITHOUT ROWID;

-- Webhooks whose signature was good, by kind. `first_at`, `last_at`: the first and the
-- newest of that kind.
CREATE TABLE webhook_receipts (
  source   TEXT NOT NULL CHECK (source IN ('logto', 'mgpass')),
  kind     TEXT NOT NULL,
  first_at INTEGER NOT NULL,
  last_at  INTEGER NOT NULL,
  n        INTEGER NOT NULL,
  PRIMARY KEY (source, kind)
) STRICT, WITHOUT ROWID;

-- mgPass delivers at least once: by the event's id a second delivery is known. Kept two
-- days; mgPass tries for half a minute, and an operator may replay.
CREATE TABLE webhook_events (
  id TEXT PRIMARY KEY,
  at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX webhook_events_by_age ON webhook_events (at);

-- The newest test of each side: what was caused, when, and why it was not.
CREATE TABLE webhook_tests (
  source    TEXT PRIMARY KEY CHECK (source IN ('logto', 'mgpass')),
  kind      TEXT NOT NULL,
  caused_at INTEGER NOT NULL,
  failure   TEXT
) STRICT, WITHOUT ROWID;

-- Certificates that were made: SHA-256 of each, the term that it leads out of, until when
-- it holds. By it an edited one, or one of another proxy, is told from ours.
CREATE TABLE certificates (
  digest      TEXT PRIMARY KEY,
  term        INTEGER NOT NULL,
  made_at     INTEGER NOT NULL,
  valid_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How far the digest of everybody whom the last comparison found equal has come: a chain
-- over pages of a thousand users by id, of each side. One row, of the newest comparison.
CREATE TABLE population_digests (
  singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
  job       INTEGER NOT NULL,
  after_id  TEXT NOT NULL,
  n_users   INTEGER NOT NULL,
  logto     TEXT NOT NULL,
  mgpass    TEXT NOT NULL,
  is_whole  INTEGER NOT NULL DEFAULT 0 CHECK (is_whole IN (0, 1))
) STRICT;
