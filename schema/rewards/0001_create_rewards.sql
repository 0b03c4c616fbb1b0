-- The rewards database that points are imported from (binding REWARDS_DB).
-- ASSUMPTION: the documents say only that rewards data lives in D1 and that
-- `total_points` of the user's record is the authoritative balance; names are
-- ours (docs/assumptions.md). These files build the sandbox's database. They are
-- never applied to a real source: there, the preflight compares them with what it
-- finds and refuses the import, naming each difference. The proxy only reads it.
--
-- Times are epoch seconds, JSON is text. Values are not trusted to be as declared:
-- a record or an entry that cannot be read parks its user.

-- One per user with points. `user_id` is Logto's.
--   total_points     spendable balance, authoritative
--   lifetime_earned  only grows; the tier follows from it
--   tier             name of a tier of mgPass, or NULL
CREATE TABLE rewards_users (
  user_id         TEXT PRIMARY KEY,
  total_points    INTEGER NOT NULL DEFAULT 0,
  lifetime_earned INTEGER NOT NULL DEFAULT 0,
  tier            TEXT,
  updated_at      INTEGER
) STRICT;

--   points     signed: + credit, - debit
--   status     'posted' counts towards the balance; any other ('expired',
--              'voided') no longer does. NULL is posted
--   metadata   JSON object, as text
CREATE TABLE rewards_ledger (
  id           TEXT PRIMARY KEY,
  user_id      TEXT NOT NULL,
  event_type   TEXT NOT NULL,
  platform     TEXT,
  points       INTEGER NOT NULL,
  rule_version TEXT,
  reference_id TEXT,
  metadata     TEXT,
  status       TEXT DEFAULT 'posted',
  created_at   INTEGER NOT NULL
) STRICT;

CREATE INDEX rewards_ledger_by_user ON rewards_ledger (user_id, id);
