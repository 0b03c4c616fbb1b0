-- The proxy's own tables inside mgPass's D1, second part: what a change of authority
-- needs to share a transaction with mgPass's rows.
--
-- logto_mirror_authority: the newest generation of the authority that this database
--   was told of. It only rises. The first statement of every batch that writes mgPass's
--   users compares it with its own: a writer of an earlier generation changes nothing.
-- logto_mirror_unique: what must be unique at Logto and has no unique column here, out
--   of the residue, by user: `username`, `phone` (Logto's form), `identity:<target>`.
--   The triggers keep it equal to the residue, in whatever statement writes that; so it
--   is filled from the first mirrored user on. A value may stand twice for a moment
--   while two users exchange theirs: whoever claims one asks for other holders within
--   the same batch.

CREATE TABLE logto_mirror_authority (
  singleton  INTEGER PRIMARY KEY CHECK (singleton = 1),
  generation INTEGER NOT NULL
) STRICT;

INSERT INTO logto_mirror_authority (singleton, generation) VALUES (1, 1);

CREATE TABLE logto_mirror_unique (
  kind    TEXT NOT NULL,
  value   TEXT NOT NULL,
  user_id TEXT NOT NULL,
  PRIMARY KEY (kind, value, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX logto_mirror_unique_by_user ON logto_mirror_unique (user_id);
-- For tenants whose usernames are compared without their case.
CREATE INDEX logto_mirror_unique_folded ON logto_mirror_unique (lower(value)) WHERE kind = 'username';

CREATE TRIGGER logto_mirror_unique_new AFTER INSERT ON logto_mirror WHEN NEW.residue IS NOT NULL BEGIN
  INSERT OR IGNORE INTO logto_mirror_unique (kind, value, user_id)
  SELECT 'username', json_extract(NEW.residue, '$.username'), NEW.user_id
  WHERE json_type(NEW.residue, '$.username') = 'text'
  UNION ALL SELECT 'phone', json_extract(NEW.residue, '$.primaryPhone'), NEW.user_id
  WHERE json_type(NEW.residue, '$.primaryPhone') = 'text'
  UNION ALL SELECT 'identity:' || i.key, json_extract(i.value, '$.userId'), NEW.user_id
  FROM json_each(NEW.residue, '$.identities') i WHERE i.type = 'object' AND json_type(i.value, '$.userId') = 'text';
END;

CREATE TRIGGER logto_mirror_unique_changed AFTER UPDATE OF residue ON logto_mirror WHEN NEW.residue IS NOT OLD.residue BEGIN
  DELETE FROM logto_mirror_unique WHERE user_id = NEW.user_id;
  INSERT OR IGNORE INTO logto_mirror_unique (kind, value, user_id)
  SELECT 'username', json_extract(NEW.residue, '$.username'), NEW.user_id
  WHERE json_type(NEW.residue, '$.username') = 'text'
  UNION ALL SELECT 'phone', json_extract(NEW.residue, '$.primaryPhone'), NEW.user_id
  WHERE json_type(NEW.residue, '$.primaryPhone') = 'text'
  UNION ALL SELECT 'identity:' || i.key, json_extract(i.value, '$.userId'), NEW.user_id
  FROM json_each(NEW.residue, '$.identities') i WHERE i.type = 'object' AND json_type(i.value, '$.userId') = 'text';
END;
