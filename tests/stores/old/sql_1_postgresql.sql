-- A database of schema 1 as `SQLStore` made it on postgresql, with a session whose last message has open calls.
CREATE TABLE agentkit_schema (version BIGINT PRIMARY KEY, applied DOUBLE PRECISION NOT NULL);
CREATE TABLE agentkit_sessions (
    id TEXT COLLATE "C" PRIMARY KEY,
    created DOUBLE PRECISION NOT NULL,
    updated DOUBLE PRECISION NOT NULL,
    version BIGINT NOT NULL,
    messages BIGINT NOT NULL,
    usage TEXT NOT NULL,
    title TEXT,
    model TEXT,
    instructions TEXT,
    expires DOUBLE PRECISION,
    parent TEXT,
    fence TEXT,
    owner TEXT
);
CREATE INDEX agentkit_sessions_by_time ON agentkit_sessions (updated, id);
CREATE INDEX agentkit_sessions_by_end ON agentkit_sessions (expires) WHERE expires IS NOT NULL;
CREATE TABLE agentkit_messages (
    session_id TEXT COLLATE "C" NOT NULL REFERENCES agentkit_sessions (id) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    usage TEXT,
    finish_reason TEXT,
    words TEXT NOT NULL,
    PRIMARY KEY (session_id, seq)
);
CREATE TABLE agentkit_calls (
    session_id TEXT COLLATE "C" NOT NULL REFERENCES agentkit_sessions (id) ON DELETE CASCADE,
    idx BIGINT NOT NULL,
    call_id TEXT NOT NULL,
    name TEXT NOT NULL,
    effect TEXT NOT NULL,
    started BIGINT NOT NULL,
    response TEXT,
    PRIMARY KEY (session_id, idx)
);
CREATE TABLE agentkit_summaries (
    session_id TEXT COLLATE "C" NOT NULL REFERENCES agentkit_sessions (id) ON DELETE CASCADE,
    version BIGINT NOT NULL,
    upto BIGINT NOT NULL,
    summary TEXT NOT NULL,
    PRIMARY KEY (session_id, version)
);
CREATE INDEX agentkit_messages_by_word ON agentkit_messages USING gin (to_tsvector('simple', words));
INSERT INTO agentkit_schema VALUES (1, 1795777090.091128);
INSERT INTO agentkit_sessions VALUES ('ann', 1795777090.1004057, 1795777090.1234078, 1795777090100408082, 4, '{"requests":2,"total_tokens":16}', 'Weather', 'm', 'Be kind.', NULL, NULL, '18b510462ba5ae972e18f3b5a4c241b9', NULL);
INSERT INTO agentkit_messages VALUES ('ann', 0, 1795777090.117885, 'user', '{"role":"user","parts":[{"text":"hello"}]}', NULL, NULL, ' hello ');
INSERT INTO agentkit_messages VALUES ('ann', 1, 1795777090.1188257, 'model', '{"role":"model","parts":[{"text":"hi"}]}', '{"requests":1,"total_tokens":7}', 'STOP', ' hi ');
INSERT INTO agentkit_messages VALUES ('ann', 2, 1795777090.1231012, 'user', '{"role":"user","parts":[{"text":"What is the weather in Oslo?"}]}', NULL, NULL, ' what is the weather in oslo ');
INSERT INTO agentkit_messages VALUES ('ann', 3, 1795777090.1234078, 'model', '{"role":"model","parts":[{"functionCall":{"name":"weather","args":{"city":"Oslo"},"id":"c1"}},{"functionCall":{"name":"clock","args":{}}}]}', '{"requests":1,"total_tokens":9}', NULL, '  ');
INSERT INTO agentkit_calls VALUES ('ann', 0, 'run-1-0', 'weather', 'read', 1, NULL);
INSERT INTO agentkit_calls VALUES ('ann', 1, 'run-1-1', 'clock', 'write', 1, '{"functionResponse":{"name":"clock","response":{"output":"noon"}}}');
INSERT INTO agentkit_summaries VALUES ('ann', 1795777090100408078, 2, 'greetings');
