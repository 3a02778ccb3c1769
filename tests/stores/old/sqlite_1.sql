-- A file of schema 1 as `SQLiteStore` made it, with a session whose last message has open calls.
PRAGMA page_size = 1024;
PRAGMA application_id = 1634429300;
PRAGMA user_version = 1;
CREATE TABLE sessions (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    created REAL NOT NULL,
    updated REAL NOT NULL,
    version INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    usage TEXT NOT NULL,
    title TEXT,
    model TEXT,
    expires REAL,
    parent TEXT
) STRICT;
CREATE INDEX sessions_by_time ON sessions (updated, id);
CREATE INDEX sessions_by_end ON sessions (expires) WHERE expires IS NOT NULL;
CREATE TABLE instructions (
    session INTEGER PRIMARY KEY REFERENCES sessions ON DELETE CASCADE,
    text TEXT NOT NULL
) STRICT;
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    session INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    created REAL NOT NULL,
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    text TEXT NOT NULL,
    usage TEXT,
    finish_reason TEXT,
    UNIQUE (session, seq)
) STRICT;
CREATE TABLE calls (
    session INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE,
    number INTEGER NOT NULL,
    call_id TEXT NOT NULL,
    name TEXT NOT NULL,
    effect TEXT NOT NULL CHECK (effect IN ('read', 'write')),
    started INTEGER NOT NULL CHECK (started IN (0, 1)),
    response TEXT,
    PRIMARY KEY (session, number)
) STRICT;
CREATE TABLE summaries (
    id INTEGER PRIMARY KEY,
    session INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE,
    upto INTEGER NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX summaries_by_session ON summaries (session);
CREATE TABLE writers (
    session INTEGER PRIMARY KEY REFERENCES sessions ON DELETE CASCADE,
    token TEXT NOT NULL,
    taken REAL NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started TEXT NOT NULL
) STRICT;
CREATE VIEW texts AS SELECT id, text FROM messages WHERE text <> '';
CREATE VIRTUAL TABLE words
    USING fts5 (text, content = 'texts', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2');
CREATE TRIGGER message_added AFTER INSERT ON messages WHEN new.text <> '' BEGIN
    INSERT INTO words (rowid, text) VALUES (new.id, new.text);
    END;
CREATE TRIGGER message_removed AFTER DELETE ON messages WHEN old.text <> '' BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
    END;
INSERT INTO sessions VALUES (1, 'ann', 1795777090.0940435, 1795777090.0978084, 1795777090094190774, 4, '{"requests":2,"total_tokens":16}', 'Weather', 'm', NULL, NULL);
INSERT INTO instructions VALUES (1, 'Be kind.');
INSERT INTO messages VALUES (1, 1, 0, 1795777090.0966315, 'user', '{"role":"user","parts":[{"text":"hello"}]}', 'hello', NULL, NULL);
INSERT INTO messages VALUES (2, 1, 1, 1795777090.0968852, 'model', '{"role":"model","parts":[{"text":"hi"}]}', 'hi', '{"requests":1,"total_tokens":7}', 'STOP');
INSERT INTO messages VALUES (3, 1, 2, 1795777090.0977046, 'user', '{"role":"user","parts":[{"text":"What is the weather in Oslo?"}]}', 'What is the weather in Oslo?', NULL, NULL);
INSERT INTO messages VALUES (4, 1, 3, 1795777090.0978084, 'model', '{"role":"model","parts":[{"functionCall":{"name":"weather","args":{"city":"Oslo"},"id":"c1"}},{"functionCall":{"name":"clock","args":{}}}]}', '', '{"requests":1,"total_tokens":9}', NULL);
INSERT INTO calls VALUES (1, 0, 'run-1-0', 'weather', 'read', 1, NULL);
INSERT INTO calls VALUES (1, 1, 'run-1-1', 'clock', 'write', 1, '{"functionResponse":{"name":"clock","response":{"output":"noon"}}}');
INSERT INTO summaries VALUES (1, 1, 2, 'greetings');
