-- Whose password at mgPass is one that the proxy put there. No password, and of a hash
-- only `digest`, which is keyed; user ids, codes, times.
--
-- Times are epoch milliseconds by this database's clock.

-- A user without a row has none that the proxy knows of.
--   state      carrying: a call is under way, or its end is not known. carried: mgPass has
--              the password that Logto had when it was last asked. void_owed: mgPass may
--              have one that is no longer Logto's, and is to get a random one
--   reason     why there is none, or why a void is owed: a code
--   road       the operation whose request held the password
--   ticket     of the newest turn; password operations that Logto answered before it are
--              covered by what is carried
--   n_gaps     in recording, as of that turn (`counters`, `unrecorded`)
--   tried_at   when a carry was last begun, for the budget
--   not_before no carry from a check before that
--   due_at     of `void_owed`: when it is due
--   late_until a call without an answer may land at mgPass until then, so that a void is
--              repeated
--   digest     keyed hash of Logto's own hash (from Logto 1.38 on); NULL: not known
--   looked_at  when Logto's hash and factors were last looked at
CREATE TABLE passwords (
  subject    TEXT PRIMARY KEY,
  state      TEXT NOT NULL CHECK (state IN ('none', 'carrying', 'carried', 'void_owed')),
  reason     TEXT,
  road       TEXT,
  ticket     INTEGER NOT NULL,
  n_gaps     INTEGER NOT NULL,
  since      INTEGER NOT NULL,
  tried_at   INTEGER NOT NULL DEFAULT 0,
  not_before INTEGER NOT NULL DEFAULT 0,
  due_at     INTEGER,
  late_until INTEGER NOT NULL DEFAULT 0,
  digest     TEXT,
  looked_at  INTEGER NOT NULL DEFAULT 0,
  CHECK ((due_at IS NOT NULL) = (state = 'void_owed'))
) STRICT, WITHOUT ROWID;

CREATE INDEX passwords_due ON passwords (due_at) WHERE state = 'void_owed';
CREATE INDEX passwords_under_way ON passwords (since) WHERE state = 'carrying';
CREATE INDEX passwords_there ON passwords (looked_at) WHERE state = 'carried';
CREATE INDEX passwords_by_gaps ON passwords (n_gaps) WHERE state = 'carried';
CREATE INDEX passwords_tried ON passwords (tried_at);

-- Whether passwords may be carried at all: who decided that, and a passed check. One row.
-- `facts`: what the newest check found, a JSON object of codes; `passed_at`: NULL unless
-- all of it was good.
CREATE TABLE password_carry (
  singleton  INTEGER PRIMARY KEY CHECK (singleton = 1),
  decided_at INTEGER,
  decided_by TEXT,
  reason     TEXT,
  checked_at INTEGER,
  facts      TEXT CHECK (facts IS NULL OR json_valid(facts)),
  passed_at  INTEGER,
  passed_by  TEXT,
  CHECK ((decided_at IS NULL) = (decided_by IS NULL))
) STRICT;

INSERT INTO password_carry (singleton) VALUES (1);
