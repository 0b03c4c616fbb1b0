-- Whose data wins, and how that changes. No personal data: ids of users and of
-- applications, codes, digests, an operator's reasons.
--
-- Times are epoch milliseconds by this database's clock.

-- One row: two places may see two stages, never two authorities. It is changed by
-- compare-and-set alone, on holder and generation. `alone`: mgPass's data wins, as with
-- `mgpass`, and nobody asks Logto anything any more (stage `cleanup`).
--   generation    rises with every move, a move back included; writers at mgPass carry it
--   term          rises with every completed hand-over; evidence and waivers are of one
--   deadline      until when draining or returning must be over; NULL in the others
--   raise_owed    1: mgPass's database does not know this generation yet, and until it
--                 does no relay writes there
--   announced_at, announced_until
--                 a hand-over is announced: before `announced_until` no draining begins
--   armed_at, armed_until
--                 the origin was seen to refuse whoever does not send the hand-over secret
--   wish          the stage that an operator wants, not carried out yet
--   kv_stage      the last value of the KV key `stage` that was noticed
--   kv_before, kv_since
--                 the value before it, which a place that is late may still see, and
--                 when the change was noticed
CREATE TABLE authority (
  singleton       INTEGER PRIMARY KEY CHECK (singleton = 1),
  holder          TEXT NOT NULL CHECK (holder IN ('logto', 'draining', 'mgpass', 'returning', 'alone')),
  generation      INTEGER NOT NULL,
  term            INTEGER NOT NULL,
  since           INTEGER NOT NULL,
  deadline        INTEGER,
  raise_owed      INTEGER NOT NULL DEFAULT 0 CHECK (raise_owed IN (0, 1)),
  announced_at    INTEGER,
  announced_until INTEGER,
  armed_at        INTEGER,
  armed_until     INTEGER,
  wish            TEXT CHECK (wish IN ('dual_write', 'cutover', 'cleanup')),
  wish_at         INTEGER,
  wish_source     TEXT CHECK (wish_source IN ('kv', 'dwp')),
  kv_stage        TEXT,
  kv_before       TEXT,
  kv_since        INTEGER,
  CHECK ((deadline IS NOT NULL) = (holder IN ('draining', 'returning'))),
  CHECK ((announced_at IS NULL) = (announced_until IS NULL))
) STRICT;

INSERT INTO authority (singleton, holder, generation, term, since)
VALUES (1, 'logto', 1, 1, CAST(unixepoch('subsec') * 1000 AS INTEGER));

-- Every move, and what it rested on. `cause`: a code. `evidence`: SHA-256 of what the
-- gates saw. `waivers`: what was let pass, by whom and why. `held_ms`: how long user
-- writes had been held when the move ended that.
CREATE TABLE authority_log (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  at          INTEGER NOT NULL,
  from_holder TEXT NOT NULL,
  to_holder   TEXT NOT NULL,
  generation  INTEGER NOT NULL,
  term        INTEGER NOT NULL,
  cause       TEXT NOT NULL,
  wish        TEXT,
  evidence    TEXT,
  waivers     TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(waivers)),
  held_ms     INTEGER
) STRICT;

-- A gate that may be red in this term. `name`: one of what it counts (a user, an
-- application); '': the gate as a whole.
CREATE TABLE waivers (
  term   INTEGER NOT NULL,
  gate   TEXT NOT NULL,
  name   TEXT NOT NULL DEFAULT '',
  reason TEXT NOT NULL,
  actor  TEXT NOT NULL,
  at     INTEGER NOT NULL,
  PRIMARY KEY (term, gate, name)
) STRICT, WITHOUT ROWID;

-- What the gates `checklist` and `certificate` go by: the newest of each kind.
-- `not_green`: names of what is not, a JSON array.
CREATE TABLE evidence (
  kind      TEXT PRIMARY KEY CHECK (kind IN ('checklist', 'certificate')),
  term      INTEGER NOT NULL,
  at        INTEGER NOT NULL,
  digest    TEXT NOT NULL,
  not_green TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(not_green))
) STRICT, WITHOUT ROWID;

-- Users whom neither direction writes until a person has decided.
CREATE TABLE held_subjects (
  subject TEXT PRIMARY KEY,
  reason  TEXT NOT NULL,
  since   INTEGER NOT NULL,
  detail  TEXT
) STRICT, WITHOUT ROWID;

-- What Logto does not have yet of what mgPass has, by user, besides the intents of
-- mgPass's side that no reconcile has covered. `code`: why, with the field before a colon
-- where it is about one.
CREATE TABLE debt (
  subject TEXT NOT NULL,
  class   TEXT NOT NULL CHECK (class IN ('born_at_mgpass', 'credential_at_mgpass', 'refused_by_logto', 'unanswered', 'value_conflict')),
  code    TEXT NOT NULL,
  since   INTEGER NOT NULL,
  PRIMARY KEY (subject, class, code)
) STRICT, WITHOUT ROWID;

CREATE INDEX debt_by_class ON debt (class, subject);

-- What the reverse mirror has sent to Logto, until the base says so: there before the
-- first call leaves, gone once each was answered and the base was left, or when Logto
-- commits nothing so late any more. `answered_at`: each call was, so that nothing of it can
-- land any more; only the base was not left, since the lease or the authority had moved.
-- `fields`: digest of each value that was carried, a JSON object; null: taken away. What
-- Logto then shows of these is nobody else's doing.
CREATE TABLE sent_back (
  subject     TEXT NOT NULL,
  ticket      INTEGER NOT NULL,
  sent_at     INTEGER NOT NULL,
  answered_at INTEGER,
  fields      TEXT NOT NULL CHECK (json_valid(fields)),
  PRIMARY KEY (subject, ticket)
) STRICT, WITHOUT ROWID;

CREATE INDEX sent_back_by_age ON sent_back (sent_at);

-- Deletions that the reverse mirror has begun at Logto, for an hour: the brake.
CREATE TABLE deleted_back (
  subject TEXT PRIMARY KEY,
  at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX deleted_back_by_age ON deleted_back (at);

-- Changes at Logto that neither the reverse mirror nor an allowed sign-in made. A user
-- id (NULL: nobody knows whose), and names of fields; never a value. Until
-- `watch_until` the user is looked at again: Logto may commit late.
CREATE TABLE strays (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  subject     TEXT,
  path        TEXT,
  operation   TEXT,
  found_at    INTEGER NOT NULL,
  source      TEXT NOT NULL CHECK (source IN ('walk', 'reverse', 'webhook', 'late_record', 'waived_intent')),
  state       TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'resolved')),
  watch_until INTEGER,
  resolution  TEXT,
  resolved_at INTEGER
) STRICT;

CREATE INDEX strays_by_subject ON strays (subject);
CREATE INDEX strays_open ON strays (id) WHERE state = 'open';

-- When Logto was last needed, by application (client id) and kind of request.
CREATE TABLE dependencies (
  application    TEXT NOT NULL,
  kind           TEXT NOT NULL,
  last_needed_at INTEGER NOT NULL,
  n              INTEGER NOT NULL,
  PRIMARY KEY (application, kind)
) STRICT, WITHOUT ROWID;
