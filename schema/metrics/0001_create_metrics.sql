-- Counts and verdicts (binding METRICS_DB), in a database of their own, so that
-- counting never competes with the outbox. No personal data, no ids.
--
-- Times are epoch milliseconds.

-- Per slot of time, for the guard and the timeline; six hours.
CREATE TABLE samples (
  slot      INTEGER NOT NULL,
  metric    TEXT NOT NULL,
  operation TEXT NOT NULL,
  backend   TEXT NOT NULL,
  label     TEXT NOT NULL,
  count     INTEGER NOT NULL,
  PRIMARY KEY (slot, metric, operation, backend, label)
) STRICT, WITHOUT ROWID;

-- Since the database was made; they only grow, as a scraper expects.
CREATE TABLE totals (
  metric    TEXT NOT NULL,
  operation TEXT NOT NULL,
  backend   TEXT NOT NULL,
  label     TEXT NOT NULL,
  count     INTEGER NOT NULL,
  PRIMARY KEY (metric, operation, backend, label)
) STRICT, WITHOUT ROWID;

-- The guard's verdicts with what they were made of; thirty days.
CREATE TABLE verdicts (
  id      INTEGER PRIMARY KEY,
  at      INTEGER NOT NULL,
  verdict TEXT NOT NULL CHECK (verdict IN ('pass', 'hold', 'stop')),
  reason  TEXT NOT NULL,
  figures TEXT NOT NULL CHECK (json_valid(figures))
) STRICT;

CREATE INDEX verdicts_by_time ON verdicts (at);
