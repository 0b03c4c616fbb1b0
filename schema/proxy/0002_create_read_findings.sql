-- What the comparison of reads found. No values: hashes keyed by SUBJECT_KEY, or
-- NULL without one. A path shows names of fields only.
CREATE TABLE read_findings (
  subject        TEXT NOT NULL,
  operation      TEXT NOT NULL,
  path           TEXT NOT NULL,
  class          TEXT NOT NULL CHECK (class IN ('missing', 'extra', 'type', 'value', 'order', 'status')),
  control_hash   TEXT,
  candidate_hash TEXT,
  n_seen         INTEGER NOT NULL DEFAULT 1,
  first_at       INTEGER NOT NULL,
  last_at        INTEGER NOT NULL,
  PRIMARY KEY (subject, operation, path, class)
) STRICT;

CREATE INDEX read_findings_by_age ON read_findings (last_at);

-- Fields that differed between two reads of Logto itself, by user: seen with
-- three of them, such a difference counts as noise.
CREATE TABLE volatile_fields (
  operation TEXT NOT NULL,
  path      TEXT NOT NULL,
  class     TEXT NOT NULL,
  subject   TEXT NOT NULL,
  last_at   INTEGER NOT NULL,
  PRIMARY KEY (operation, path, class, subject)
) STRICT;

CREATE INDEX volatile_fields_by_age ON volatile_fields (last_at);
