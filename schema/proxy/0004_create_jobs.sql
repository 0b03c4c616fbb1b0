-- Long jobs over a whole population: the import of users, of points, and the proof of
-- equality. Page by page over a Queue; all state is here, a message only wakes a lane.
-- No personal data: user ids, codes, counts, digests.

-- phase: what a page is taken from now. `list`: Logto's listing, by page number, any
-- number of lanes at once; the others go by id, one page after the other.
-- memory_bytes: the most that the program's memory had grown to in any isolate.
-- pass: Logto's order is unstable, so a listing that did not add up is walked again.
CREATE TABLE jobs (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  kind         TEXT NOT NULL CHECK (kind IN ('users', 'points', 'equality')),
  state        TEXT NOT NULL CHECK (state IN ('running', 'paused', 'done', 'stopped')),
  phase        TEXT NOT NULL CHECK (phase IN ('list', 'absent', 'settle', 'mgpass', 'source')),
  dry_run      INTEGER NOT NULL CHECK (dry_run IN (0, 1)),
  repair       INTEGER NOT NULL CHECK (repair IN (0, 1)),
  inspect      INTEGER NOT NULL CHECK (inspect IN (0, 1)),
  lanes        INTEGER NOT NULL,
  rate         INTEGER,
  pass         INTEGER NOT NULL DEFAULT 1,
  next_page    INTEGER NOT NULL DEFAULT 1,
  last_page    INTEGER,
  after_id     TEXT NOT NULL DEFAULT '',
  next_at      INTEGER NOT NULL DEFAULT 0,
  total_first  INTEGER,
  total_last   INTEGER,
  n_seen       INTEGER NOT NULL DEFAULT 0,
  n_users      INTEGER NOT NULL DEFAULT 0,
  n_pages      INTEGER NOT NULL DEFAULT 0,
  n_statements INTEGER NOT NULL DEFAULT 0,
  n_whole      INTEGER NOT NULL DEFAULT 0,
  n_added      INTEGER NOT NULL DEFAULT 0,
  logto_ms     INTEGER NOT NULL DEFAULT 0,
  mgpass_ms    INTEGER NOT NULL DEFAULT 0,
  work_ms      INTEGER NOT NULL DEFAULT 0,
  memory_bytes INTEGER NOT NULL DEFAULT 0,
  started_at   INTEGER NOT NULL,
  moved_at     INTEGER NOT NULL,
  finished_at  INTEGER,
  last_failure TEXT
) STRICT;

CREATE UNIQUE INDEX jobs_active ON jobs (kind) WHERE state IN ('running', 'paused');
CREATE INDEX jobs_by_kind ON jobs (kind, id);

-- Pages that a lane holds now. Gone when the page is done; a claim that ran out is
-- somebody else's. `n_done`: rows of the page that an invocation has done, which could
-- not do all.
CREATE TABLE job_pages (
  job           INTEGER NOT NULL,
  page          INTEGER NOT NULL,
  holder        TEXT NOT NULL,
  claimed_until INTEGER NOT NULL,
  n_done        INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (job, page)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_pages_by_holder ON job_pages (holder);

-- What became of each user in the newest job of a kind.
CREATE TABLE job_users (
  kind    TEXT NOT NULL,
  user_id TEXT NOT NULL,
  job     INTEGER NOT NULL,
  pass    INTEGER NOT NULL,
  outcome TEXT NOT NULL CHECK (outcome IN ('equal', 'parked', 'deleted', 'pending', 'create', 'update', 'differs', 'missing', 'only_at_mgpass')),
  reason  TEXT,
  notes   TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(notes)),
  PRIMARY KEY (kind, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_users_unequal ON job_users (kind, job, outcome, user_id) WHERE outcome <> 'equal';
CREATE INDEX job_users_noted ON job_users (kind, job, user_id) WHERE notes <> '[]';

-- The two digests under which a user was last found equal: while neither has changed
-- there is nothing to compare field by field.
CREATE TABLE equality_marks (
  user_id TEXT PRIMARY KEY,
  logto   TEXT NOT NULL,
  mgpass  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE equality_differences (
  user_id  TEXT NOT NULL,
  path     TEXT NOT NULL,
  class    TEXT NOT NULL CHECK (class IN ('missing', 'extra', 'value')),
  reason   TEXT NOT NULL,
  job      INTEGER NOT NULL,
  first_at INTEGER NOT NULL,
  last_at  INTEGER NOT NULL,
  PRIMARY KEY (user_id, path)
) STRICT, WITHOUT ROWID;
