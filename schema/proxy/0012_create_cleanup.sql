-- What stage `cleanup` goes by, and how far clearing has come. No personal data: public
-- keys, codes, counts, digests, an operator's names and reasons.
--
-- Times are epoch milliseconds by this database's clock.

-- Logto's discovery document and the public halves of its keys, as it served them: answered
-- in its stead once nobody asks it any more, until the imported keys reach their sunset.
CREATE TABLE old_issuer (
  singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
  discovery TEXT NOT NULL CHECK (json_valid(discovery)),
  jwks      TEXT NOT NULL CHECK (json_valid(jwks)),
  kept_at   INTEGER NOT NULL
) STRICT;

-- What an operator has done or named before cleanup, the newest of each kind.
--   refresh_tokens  `until`: when the last of Logto's refresh tokens ends, or has ended
--   residue         what became of it (`how`: `metadata`, `exported`); `until` is the ticket
--                   up to which it is right, `digest` of the file where there is one
--   archive         `digest` of the file that the history was written to, `until` when
--   route           `until`: since when the proxy's route is gone
CREATE TABLE cleanup_notes (
  name   TEXT PRIMARY KEY CHECK (name IN ('refresh_tokens', 'residue', 'archive', 'route')),
  until  INTEGER NOT NULL,
  how    TEXT NOT NULL DEFAULT '',
  digest TEXT NOT NULL DEFAULT '',
  n      INTEGER NOT NULL DEFAULT 0,
  actor  TEXT NOT NULL,
  at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Steps of clearing, in their order: there once the step has begun. While there is one,
-- no way back is left.
CREATE TABLE cleanup_steps (
  step     TEXT PRIMARY KEY,
  began_at INTEGER NOT NULL,
  done_at  INTEGER,
  n        INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
