-- mgPass's own rewards tables, as the points import assumes them. ASSUMPTION: the
-- documents give the fields of a balance, a ledger entry and a tier, not where
-- they are kept (docs/assumptions.md). Never applied to a real mgPass: the import
-- compares them with what it finds, and the mirror of users goes on without them.
--
-- Times are epoch seconds, JSON is text.

-- Thresholds in force, compared with `lifetime_earned`.
CREATE TABLE reward_tiers (
  name       TEXT PRIMARY KEY,
  min_points INTEGER NOT NULL UNIQUE,
  multiplier REAL NOT NULL
) STRICT;

INSERT INTO reward_tiers (name, min_points, multiplier)
VALUES ('bronze', 0, 1.0), ('silver', 2500, 1.25), ('gold', 10000, 1.5), ('platinum', 25000, 2.0);

-- The cached balance. A user without a row has no points and the lowest tier.
CREATE TABLE user_rewards (
  user_id         TEXT PRIMARY KEY REFERENCES users (id),
  total_points    INTEGER NOT NULL DEFAULT 0,
  lifetime_earned INTEGER NOT NULL DEFAULT 0,
  tier            TEXT NOT NULL REFERENCES reward_tiers (name),
  updated_at      INTEGER NOT NULL
) STRICT;

-- Every entry counts: mgPass's reconcile makes the balance their sum.
CREATE TABLE points_ledger (
  id           TEXT PRIMARY KEY,
  user_id      TEXT NOT NULL REFERENCES users (id),
  event_type   TEXT NOT NULL,
  platform     TEXT,
  points       INTEGER NOT NULL,
  rule_version TEXT,
  reference_id TEXT,
  metadata     TEXT CHECK (metadata IS NULL OR json_valid(metadata)),
  created_at   INTEGER NOT NULL
) STRICT;

CREATE INDEX points_ledger_by_user ON points_ledger (user_id, id);
CREATE INDEX points_ledger_by_time ON points_ledger (created_at);
