-- What operators steer by, and who steered. No data of users. `actor` is the name that
-- an operator gave, `reason` what they wrote; a value that the proxy does not take is
-- nowhere kept, since it may be anything.
--
-- Times are epoch milliseconds by this database's clock.

-- What was last noticed of each flag, and before that. `kind` tells the keys of KV from
-- the rest; `code`: why the value is not taken (then `value` is NULL), or `unknown_key`.
CREATE TABLE flag_state (
  kind         TEXT NOT NULL CHECK (kind IN ('flag', 'authority')),
  key          TEXT NOT NULL,
  value        TEXT,
  code         TEXT,
  before_value TEXT,
  before_code  TEXT,
  since        INTEGER NOT NULL,
  PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;

-- Every change that was noticed, the newest thousand.
CREATE TABLE flag_history (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  noticed_at   INTEGER NOT NULL,
  kind         TEXT NOT NULL,
  key          TEXT NOT NULL,
  before_value TEXT,
  before_code  TEXT,
  value        TEXT,
  code         TEXT,
  actor        TEXT,
  reason       TEXT
) STRICT;

-- Who is about to write which value, told before they do: a change to it that is
-- noticed within ten minutes is theirs.
CREATE TABLE flag_announcements (
  key          TEXT PRIMARY KEY,
  value        TEXT,
  actor        TEXT,
  reason       TEXT,
  announced_at INTEGER NOT NULL
) STRICT;

-- When cron was last here.
CREATE TABLE heartbeats (
  name TEXT PRIMARY KEY CHECK (name = 'cron'),
  at   INTEGER NOT NULL
) STRICT;

-- Ramp plans, the newest twenty. Shares in basis points.
--   steps      the shares in their order, a JSON array
--   in_force   the share that the plan knows to be in force
--   earlier    the one before it: a place that is late may still see it
--   wanted     the share that it is about to put there; NULL: none is under way
--   is_written KV took `wanted`; it may be seen a minute later
--   moved_at   when `in_force` was seen, or else when the state last changed
--   good       the last share that passed
--   why        code of why it is paused or aborted
CREATE TABLE ramp_plans (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  state      TEXT NOT NULL CHECK (state IN ('running', 'paused', 'done', 'aborted')),
  steps      TEXT NOT NULL CHECK (json_valid(steps)),
  hold_ms    INTEGER NOT NULL,
  min_reads  INTEGER NOT NULL,
  in_force   INTEGER NOT NULL,
  earlier    INTEGER NOT NULL,
  wanted     INTEGER,
  is_written INTEGER NOT NULL DEFAULT 0 CHECK (is_written IN (0, 1)),
  good       INTEGER NOT NULL DEFAULT 0,
  why        TEXT,
  actor      TEXT,
  reason     TEXT,
  started_at INTEGER NOT NULL,
  moved_at   INTEGER NOT NULL,
  version    INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE UNIQUE INDEX ramp_plans_active ON ramp_plans (1) WHERE state IN ('running', 'paused');

-- What became of a plan, in order.
CREATE TABLE ramp_log (
  id    INTEGER PRIMARY KEY AUTOINCREMENT,
  plan  INTEGER NOT NULL,
  at    INTEGER NOT NULL,
  what  TEXT NOT NULL CHECK (what IN ('started', 'step', 'seen', 'passed', 'paused', 'resumed', 'aborted', 'done')),
  share INTEGER NOT NULL,
  why   TEXT,
  actor TEXT
) STRICT;

CREATE INDEX ramp_log_by_plan ON ramp_log (plan, id);
