-- A semicolon in a comment; and one in a text below.
CREATE TABLE notes (id TEXT PRIMARY KEY, text TEXT NOT NULL DEFAULT 'a;b') STRICT;
CREATE INDEX notes_by_text ON notes (text);
