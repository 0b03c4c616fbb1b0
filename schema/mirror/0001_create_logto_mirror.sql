-- The proxy's own tables inside mgPass's D1 (binding MGPASS_DB). They stand
-- there, not in the proxy's database, because the fence against late writers
-- must share a transaction with the rows it guards. Both outlive the user row.
--
-- logto_mirror: one row per user that the proxy mirrors.
--   ticket      number of the newest reconcile that was applied; a batch with a
--               lower one changes nothing
--   epoch       recording epoch in which that reconcile ran
--   tombstone   1 after a mirrored deletion
--   digest      of Logto's user as last applied, empty for a tombstone
--   residue     Logto's own form of what mgPass cannot hold. Personal data, as
--               personal as the users table beside it; NULL for a tombstone
--   base        what that reconcile left in mgPass's rows: a digest of each field, a
--               JSON object. Whatever differs from it was changed at mgPass since; a
--               field that somebody changed on purpose keeps its older digest until
--               a person has decided. NULL for a tombstone
--   logto_base  the same of Logto's user: a digest of each field that is carried back, as
--               the newest reconcile left it there, in whichever direction. Whatever
--               differs from it was changed at Logto since, and not by the mirror. NULL:
--               nothing is known
--   logto_ticket
--               number of the newest reconcile towards Logto; one with a lower number
--               says nothing about Logto's user any more
--   password_mark
--               keyed hash of mgPass's hash of the user's password, and which key that
--               was; NULL: there was none
--   password_seen
--               the same, as the walk last met it while Logto was the authority: that
--               password was set before the hand-over. NULL: there was none, or it was
--               not looked at
--   password_carried
--               1: mgPass's password is the one that the proxy carried over
--   void_hash   mgPass's hash of a random password that nobody knows; while it is the
--               user's, they have none to sign in with
--   own_set_from, own_set_until
--               epoch seconds: when the proxy set a password by mgPass's API. An entry
--               `user.updated` of the user in mgPass's audit log is the proxy's own then
--   seen_at     epoch seconds: when mgPass's rows were read for it. Entries of other
--               actors in mgPass's audit log count from then on
--   walked      the walk's last pass that met the user in Logto's listing
--   obstacles   codes of what could not be carried, a JSON array
--   applied_at  epoch milliseconds; of a tombstone, when it was first set
--   told        what the mirror did to the user of late and has entered in mgPass's audit
--               log in the same batch: a JSON array of [event, ticket, epoch seconds], the
--               newest 20. By it a missing entry is found
--   told_at     epoch seconds of the newest of them; NULL: none
-- logto_mirror_effects: calls to mgPass's API that are still owed, by the
--   ticket that owes them.

CREATE TABLE logto_mirror (
  user_id    TEXT PRIMARY KEY,
  ticket     INTEGER NOT NULL,
  epoch      INTEGER NOT NULL,
  tombstone  INTEGER NOT NULL DEFAULT 0 CHECK (tombstone IN (0, 1)),
  digest     TEXT NOT NULL,
  residue    TEXT CHECK (residue IS NULL OR json_valid(residue)),
  base       TEXT CHECK (base IS NULL OR json_valid(base)),
  logto_base TEXT CHECK (logto_base IS NULL OR json_valid(logto_base)),
  logto_ticket INTEGER NOT NULL DEFAULT 0,
  password_mark TEXT,
  password_seen TEXT,
  password_carried INTEGER NOT NULL DEFAULT 0 CHECK (password_carried IN (0, 1)),
  void_hash  TEXT,
  own_set_from INTEGER NOT NULL DEFAULT 0,
  own_set_until INTEGER NOT NULL DEFAULT 0,
  seen_at    INTEGER NOT NULL DEFAULT 0,
  walked     INTEGER NOT NULL DEFAULT 0,
  obstacles  TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(obstacles)),
  applied_at INTEGER NOT NULL,
  told       TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(told)),
  told_at    INTEGER
) STRICT;

CREATE INDEX logto_mirror_by_tombstone ON logto_mirror (applied_at) WHERE tombstone = 1;
CREATE INDEX logto_mirror_by_telling ON logto_mirror (told_at) WHERE told_at IS NOT NULL;

CREATE TABLE logto_mirror_effects (
  user_id TEXT NOT NULL,
  effect  TEXT NOT NULL CHECK (effect IN ('revoke_all')),
  ticket  INTEGER NOT NULL,
  owed_at INTEGER NOT NULL,
  PRIMARY KEY (user_id, effect)
) STRICT;
