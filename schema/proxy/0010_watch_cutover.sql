-- What is recommended while mgPass is the authority, as cron last judged it. One row; the
-- status judges anew whenever it is asked, and takes from here what lasts.
--
--   term, verdict, reason, since   the newest advice, and since when it stands
--   judged_at                      when cron last looked
--   failing_since                  since when mgPass's database does not answer
--   points_first, points_last      counts and sums of mgPass's points, as first and as last
--                                  read in this term: JSON objects without anybody's name
--   points_at                      when they were last read
CREATE TABLE cutover_watch (
  singleton     INTEGER PRIMARY KEY CHECK (singleton = 1),
  term          INTEGER NOT NULL,
  verdict       TEXT NOT NULL CHECK (verdict IN ('stay', 'unknown', 'look', 'go_back')),
  reason        TEXT NOT NULL,
  since         INTEGER NOT NULL,
  judged_at     INTEGER NOT NULL DEFAULT 0,
  failing_since INTEGER,
  points_first  TEXT CHECK (json_valid(points_first)),
  points_last   TEXT CHECK (json_valid(points_last)),
  points_at     INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO cutover_watch (singleton, term, verdict, reason, since) VALUES (1, 0, 'unknown', 'not_judged', 0);
