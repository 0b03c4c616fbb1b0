-- What makes the mirror look at a user without a write through the proxy, and what
-- it found. No values: a finding is a user id and a code.

-- A relay that met a busy holder waits until then, so that two subjects that need
-- each other do not meet for ever. Taking the subject as a holder does not wait.
ALTER TABLE subjects ADD COLUMN busy_until INTEGER NOT NULL DEFAULT 0;

-- The walk of the whole population: first Logto's listing, newest first, `listed` of it
-- behind; then mgPass's users by id. `began` is the sequence when the pass began: what
-- was settled before is covered by it. `side`: whose users are the truth in this pass;
-- `began_at`: when it began; `covered_at`: when the newest one with the same truth began
-- that came to its end, so that everybody was looked at since.
CREATE TABLE walk (
  singleton   INTEGER PRIMARY KEY CHECK (singleton = 1),
  phase       TEXT NOT NULL CHECK (phase IN ('logto', 'mgpass')),
  listed      INTEGER NOT NULL,
  after_id    TEXT NOT NULL,
  pass        INTEGER NOT NULL,
  began       INTEGER NOT NULL,
  n_seen      INTEGER NOT NULL,
  n_repaired  INTEGER NOT NULL,
  moved_at    INTEGER NOT NULL,
  side        TEXT NOT NULL DEFAULT 'logto' CHECK (side IN ('logto', 'mgpass')),
  began_at    INTEGER NOT NULL DEFAULT 0,
  covered_at  INTEGER
) STRICT;

INSERT INTO walk (singleton, phase, listed, after_id, pass, began, n_seen, n_repaired, moved_at)
VALUES (1, 'logto', 0, '', 1, 0, 0, 0, 0);

-- `paths`: the fields that it is about, a JSON array of names.
CREATE TABLE findings (
  user_id  TEXT NOT NULL,
  code     TEXT NOT NULL,
  kind     TEXT NOT NULL CHECK (kind IN ('repair', 'finding')),
  paths    TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(paths)),
  found_at INTEGER NOT NULL,
  n_times  INTEGER NOT NULL DEFAULT 1,
  PRIMARY KEY (user_id, code)
) STRICT;

CREATE INDEX findings_by_time ON findings (found_at);
CREATE INDEX intents_unresolved ON intents (opened_at) WHERE subject IS NULL AND discharged_at IS NULL;
