-- What Logto's tenant allows its users, as its Management API gives it: a translated
-- write is judged by it, so it must be at hand while Logto is down. No personal data.
--
-- Times are epoch milliseconds by this database's clock.

CREATE TABLE tenant (
  singleton          INTEGER PRIMARY KEY CHECK (singleton = 1),
  sign_in_experience TEXT NOT NULL CHECK (json_valid(sign_in_experience)),
  account_center     TEXT NOT NULL CHECK (json_valid(account_center)),
  read_at            INTEGER NOT NULL
) STRICT;
