-- Sign-ins that move: codes, numbers and ids of users, nothing else of anybody's.
--
-- Times are epoch milliseconds by this database's clock.

-- How far mgPass's audit log was looked at for changes by others: whoever creates or
-- changes a user there after that, while sign-ins move and Logto is the authority, stops
-- the share.
CREATE TABLE sign_in_watch (
  id    INTEGER PRIMARY KEY CHECK (id = 1),
  audit INTEGER NOT NULL
) STRICT;

-- Whether a user who signed in at Logto could sign in at mgPass as well, as it was found
-- behind that sign-in: `ready`, or why not.
CREATE TABLE sign_in_ready (
  user_id   TEXT PRIMARY KEY,
  verdict   TEXT NOT NULL CHECK (verdict IN ('ready', 'no_road', 'second_factor', 'enterprise_sso')),
  judged_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Interactions of Logto's older API that began as a sign-in and nothing else while Logto
-- was not the authority: nobody can ask that API how far one has come, so its end is let
-- through by this row alone. In one generation of the authority; forgotten after two hours.
CREATE TABLE sign_in_begun (
  uid        TEXT PRIMARY KEY,
  generation INTEGER NOT NULL,
  begun_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sign_in_begun_by_age ON sign_in_begun (begun_at);
