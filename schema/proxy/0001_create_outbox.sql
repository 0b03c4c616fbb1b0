-- The proxy's own database (binding DB). No personal data and no secrets: user
-- ids and operation names, never a body, a token or an address.
--
-- Times are epoch milliseconds by this database's clock.

-- One sequence for settle order and tickets. `epoch` rises whenever an
-- acknowledged write was not recorded; `unrecorded` counts them. Nobody is
-- relayed before `paused_until`. `marker`: when the newest marker was sent that has
-- come through the Queue. `feed`: how far mgPass's audit log was read while mgPass is the
-- authority, by rowid; `feed_at`: when it was last read to its end; `feed_turn`: when
-- somebody last set out to read it.
CREATE TABLE counters (
  name  TEXT PRIMARY KEY CHECK (name IN ('sequence', 'epoch', 'unrecorded', 'paused_until', 'marker', 'feed', 'feed_at', 'feed_turn')),
  value INTEGER NOT NULL
) STRICT;

INSERT INTO counters (name, value) VALUES ('sequence', 0), ('epoch', 1), ('unrecorded', 0), ('paused_until', 0), ('marker', 0), ('feed', 0), ('feed_at', 0), ('feed_turn', 0);

-- open: settled IS NULL. settled: Logto has answered (`status`). discharged:
-- mgPass is equal. A discharged row stays a minute for the fence of reads.
-- `expiry_checks` counts reconciles of an open intent that expired. `side`: which backend's
-- write it is; a relay covers the intents of the side that it reads. `generation`: of
-- the authority when a write was recorded, where that was asked. `nonce`: by which a
-- user is known that a create reserved at Logto.
CREATE TABLE intents (
  id            TEXT PRIMARY KEY,
  subject       TEXT,
  interaction   TEXT,
  operation     TEXT NOT NULL,
  opened_at     INTEGER NOT NULL,
  expires_at    INTEGER NOT NULL,
  settled       INTEGER,
  status        INTEGER,
  expiry_checks INTEGER NOT NULL DEFAULT 0,
  discharged_at INTEGER,
  side          TEXT NOT NULL DEFAULT 'logto' CHECK (side IN ('logto', 'mgpass')),
  generation    INTEGER,
  nonce         TEXT
) STRICT;

CREATE INDEX intents_by_subject ON intents (subject, discharged_at);
CREATE INDEX intents_by_interaction ON intents (interaction) WHERE subject IS NULL;
CREATE INDEX intents_undischarged ON intents (opened_at) WHERE discharged_at IS NULL;
CREATE INDEX intents_discharged ON intents (discharged_at) WHERE discharged_at IS NOT NULL;

-- Whom an interaction of Logto's belongs to; kept two hours, it lives one.
CREATE TABLE interactions (
  uid        TEXT PRIMARY KEY,
  subject    TEXT NOT NULL,
  learned_at INTEGER NOT NULL
) STRICT;

CREATE INDEX interactions_by_age ON interactions (learned_at);

-- One reconcile at a time per subject, and how the last one went. `woken_at`: since
-- when a message for the subject is on its way, or when it comes again; 0: none is.
-- `waits_for`: the subject who holds a value that this one needs, and is parked.
CREATE TABLE subjects (
  subject      TEXT PRIMARY KEY,
  lease_holder TEXT NOT NULL,
  lease_until  INTEGER NOT NULL,
  woken_at     INTEGER NOT NULL DEFAULT 0,
  failures     INTEGER NOT NULL DEFAULT 0,
  retry_at     INTEGER,
  parked       TEXT,
  parked_at    INTEGER,
  last_ticket  INTEGER,
  last_outcome TEXT,
  last_at      INTEGER,
  waits_for    TEXT
) STRICT;

CREATE INDEX subjects_parked ON subjects (parked) WHERE parked IS NOT NULL;
CREATE INDEX subjects_waiting ON subjects (waits_for) WHERE waits_for IS NOT NULL;
CREATE INDEX subjects_to_retry ON subjects (retry_at) WHERE retry_at IS NOT NULL;
