-- How far mgPass's audit log was looked at for changes by others: whoever creates or
-- changes a user there after that, while sign-ins move and Logto is the authority, stops
-- the share. A number of a row, and nothing of anybody's.
CREATE TABLE sign_in_watch (
  id    INTEGER PRIMARY KEY CHECK (id = 1),
  audit INTEGER NOT NULL
) STRICT;
