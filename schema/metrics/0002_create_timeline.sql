-- The course of the migration for plots. A row is a slot of time of one width: minutes
-- for 4 hours, ten minutes for 2 days, hours for 32 days. Coarser slots are made of the
-- minutes again until they are over, so that a doubled run of cron changes nothing.
--
-- asked_bps, allowed_bps  `read_percent`, and what brakes and stage leave of it
-- stage, authority        the last in the slot
-- logto, mgpass           reads by whose they were to serve: a JSON object of `reads`,
--                         `failures` and `durations` (counts by bound of the histogram)
-- writes                  user writes, whoever carried them out, in the same form
-- n_open ... n_parked     the worst in the slot
-- n_ready, n_mirrored     users equal in the current epoch, users mirrored; NULL: unknown
CREATE TABLE timeline (
  width_ms    INTEGER NOT NULL,
  slot        INTEGER NOT NULL,
  stage       TEXT NOT NULL,
  authority   TEXT,
  asked_bps   INTEGER NOT NULL,
  allowed_bps INTEGER NOT NULL,
  logto       TEXT NOT NULL CHECK (json_valid(logto)),
  mgpass      TEXT NOT NULL CHECK (json_valid(mgpass)),
  compared    INTEGER NOT NULL,
  mismatched  INTEGER NOT NULL,
  n_open      INTEGER,
  oldest_ms   INTEGER,
  n_parked    INTEGER,
  n_ready     INTEGER,
  n_mirrored  INTEGER,
  writes      TEXT NOT NULL CHECK (json_valid(writes)),
  PRIMARY KEY (width_ms, slot)
) STRICT, WITHOUT ROWID;

-- What takes long to count, and when it was counted.
CREATE TABLE gauges (
  name  TEXT PRIMARY KEY CHECK (name IN ('n_ready', 'n_mirrored')),
  value INTEGER NOT NULL,
  at    INTEGER NOT NULL
) STRICT;
