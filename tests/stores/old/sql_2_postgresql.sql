-- A database of schema 2 as `SQLStore` made it, by pg_dump: every feature is in there.
CREATE TABLE agentkit_calls (
    session_id text NOT NULL COLLATE "C",
    idx bigint NOT NULL,
    call_id text NOT NULL,
    name text NOT NULL,
    effect text NOT NULL,
    started bigint NOT NULL,
    response text,
    deferred text
);
CREATE TABLE agentkit_messages (
    session_id text NOT NULL COLLATE "C",
    seq bigint NOT NULL,
    created double precision NOT NULL,
    role text NOT NULL,
    content text NOT NULL,
    usage text,
    finish_reason text,
    words text NOT NULL
);
CREATE TABLE agentkit_results (
    session_id text NOT NULL COLLATE "C",
    id text NOT NULL COLLATE "C",
    seq bigint NOT NULL,
    result text NOT NULL
);
CREATE TABLE agentkit_schema (
    version bigint NOT NULL,
    applied double precision NOT NULL
);
CREATE TABLE agentkit_sessions (
    id text NOT NULL COLLATE "C",
    created double precision NOT NULL,
    updated double precision NOT NULL,
    version bigint NOT NULL,
    messages bigint NOT NULL,
    usage text NOT NULL,
    title text,
    model text,
    instructions text,
    expires double precision,
    parent text,
    fence text,
    owner text
);
CREATE TABLE agentkit_summaries (
    session_id text NOT NULL COLLATE "C",
    version bigint NOT NULL,
    upto bigint NOT NULL,
    summary text NOT NULL
);
INSERT INTO agentkit_calls VALUES ('ann', 2, 'run-2', 'c', 'write', 1, NULL, NULL);
INSERT INTO agentkit_calls VALUES ('ann', 0, 'run-0', 'a', 'read', 1, '{"functionResponse":{"name":"a","response":{"output":1},"id":"x"}}', NULL);
INSERT INTO agentkit_calls VALUES ('ann', 1, 'run-1', 'b', 'write', 0, NULL, '{"args":{"x":1},"why":"later","state":{"k":2},"pending":[]}');
INSERT INTO agentkit_messages VALUES ('ann', 0, 1795839662.6804805, 'user', '{"role":"user","parts":[{"text":"hello, Straße 今日の天気"}]}', NULL, NULL, ' hello strasse 今日の天気 ');
INSERT INTO agentkit_messages VALUES ('ann', 1, 1795839662.692616, 'model', '{"role":"model","parts":[{"text":"hm","thought":true},{"text":"hi","thoughtSignature":"c2ln"}]}', '{"requests":1,"prompt_tokens":40,"candidates_tokens":2,"total_tokens":42,"by_model":[{"model":"gemini-3.8-flash","long":false,"requests":1,"input_tokens":40,"cached_tokens":0,"output_tokens":2}]}', 'STOP', ' hi ');
INSERT INTO agentkit_messages VALUES ('ann', 2, 1795839662.6962123, 'user', '{"role":"user","parts":[{"text":"What is the weather in Oslo?"}]}', NULL, NULL, ' what is the weather in oslo ');
INSERT INTO agentkit_messages VALUES ('ann', 3, 1795839662.6980162, 'model', '{"role":"model","parts":[{"functionCall":{"name":"weather","args":{"city":"Oslo"},"id":"c1"}},{"functionCall":{"name":"clock","args":{}}}]}', '{"requests":1,"prompt_tokens":40,"candidates_tokens":2,"total_tokens":42,"by_model":[{"model":"gemini-3.8-flash","long":false,"requests":1,"input_tokens":40,"cached_tokens":0,"output_tokens":2}]}', NULL, '  ');
INSERT INTO agentkit_messages VALUES ('ann', 4, 1795839662.7249138, 'user', '{"role":"user","parts":[{"functionResponse":{"name":"weather","response":{"output":"rain"},"id":"c1"}},{"functionResponse":{"name":"clock","response":{"output":"noon"}}}]}', NULL, NULL, '  ');
INSERT INTO agentkit_messages VALUES ('ann', 5, 1795839662.7289202, 'model', '{"role":"model","parts":[{"text":"Rain."}]}', '{"requests":1,"prompt_tokens":40,"candidates_tokens":2,"total_tokens":42,"by_model":[{"model":"gemini-3.8-flash","long":false,"requests":1,"input_tokens":40,"cached_tokens":0,"output_tokens":2}]}', 'MAX_TOKENS', ' rain ');
INSERT INTO agentkit_messages VALUES ('ann', 6, 1795839662.7420747, 'user', '{"role":"user","parts":[{"text":"nul \u0000 byte"}]}', NULL, NULL, ' nul byte ');
INSERT INTO agentkit_messages VALUES ('ann', 7, 1795839662.7432055, 'model', '{"role":"model","parts":[{"functionCall":{"name":"a","args":{},"id":"x"}},{"functionCall":{"name":"b","args":{},"id":"y"}},{"functionCall":{"name":"c","args":{}}}]}', '{"requests":1,"prompt_tokens":40,"candidates_tokens":2,"total_tokens":42,"by_model":[{"model":"gemini-3.8-flash","long":false,"requests":1,"input_tokens":40,"cached_tokens":0,"output_tokens":2}]}', NULL, '  ');
INSERT INTO agentkit_messages VALUES ('odd \ud800 \\ \x00 é', 0, 1.5, 'user', '{"role":"user","parts":[{"text":"x"}]}', NULL, NULL, ' x ');
INSERT INTO agentkit_messages VALUES ('odd \ud800 \\ \x00 é', 1, 2.5, 'model', '{"role":"model","parts":[{"text":"y"}]}', NULL, 'odd \ud800 \\ \x00 é', ' y ');
INSERT INTO agentkit_messages VALUES ('s0', 0, 10, 'user', '{"role":"user","parts":[{"text":"word0 message 0"}]}', NULL, NULL, ' word0 message 0 ');
INSERT INTO agentkit_messages VALUES ('s0', 1, 11, 'user', '{"role":"user","parts":[{"text":"word0 message 1"}]}', NULL, NULL, ' word0 message 1 ');
INSERT INTO agentkit_messages VALUES ('s0', 2, 12, 'user', '{"role":"user","parts":[{"text":"word0 message 2"}]}', NULL, NULL, ' word0 message 2 ');
INSERT INTO agentkit_messages VALUES ('s0', 3, 13, 'user', '{"role":"user","parts":[{"text":"word0 message 3"}]}', NULL, NULL, ' word0 message 3 ');
INSERT INTO agentkit_messages VALUES ('s1', 0, 10, 'user', '{"role":"user","parts":[{"text":"word1 message 0"}]}', NULL, NULL, ' word1 message 0 ');
INSERT INTO agentkit_messages VALUES ('s1', 1, 11, 'user', '{"role":"user","parts":[{"text":"word1 message 1"}]}', NULL, NULL, ' word1 message 1 ');
INSERT INTO agentkit_messages VALUES ('s1', 2, 12, 'user', '{"role":"user","parts":[{"text":"word1 message 2"}]}', NULL, NULL, ' word1 message 2 ');
INSERT INTO agentkit_messages VALUES ('s1', 3, 13, 'user', '{"role":"user","parts":[{"text":"word1 message 3"}]}', NULL, NULL, ' word1 message 3 ');
INSERT INTO agentkit_messages VALUES ('s2', 0, 10, 'user', '{"role":"user","parts":[{"text":"word2 message 0"}]}', NULL, NULL, ' word2 message 0 ');
INSERT INTO agentkit_messages VALUES ('s2', 1, 11, 'user', '{"role":"user","parts":[{"text":"word2 message 1"}]}', NULL, NULL, ' word2 message 1 ');
INSERT INTO agentkit_messages VALUES ('s2', 2, 12, 'user', '{"role":"user","parts":[{"text":"word2 message 2"}]}', NULL, NULL, ' word2 message 2 ');
INSERT INTO agentkit_messages VALUES ('s2', 3, 13, 'user', '{"role":"user","parts":[{"text":"word2 message 3"}]}', NULL, NULL, ' word2 message 3 ');
INSERT INTO agentkit_results VALUES ('ann', 'run-0', 4, 'whole rain whole rain whole rain whole rain whole rain ');
INSERT INTO agentkit_results VALUES ('ann', 'r\\', 7, 'odd \x00 \\x00 \ud800 🦉');
INSERT INTO agentkit_results VALUES ('odd \ud800 \\ \x00 é', 'odd \ud800 \\ \x00 é', 1, 'odd \ud800 \\ \x00 é');
INSERT INTO agentkit_schema VALUES (1, 1795839662.630816);
INSERT INTO agentkit_schema VALUES (2, 1795839662.6420596);
INSERT INTO agentkit_sessions VALUES ('ann', 1795839662.643007, 1795839662.7432055, 1795839662643008670, 8, '{"requests":5,"prompt_tokens":160,"candidates_tokens":8,"total_tokens":173,"by_model":[{"model":"gemini-3.8-flash","long":false,"requests":4,"input_tokens":160,"cached_tokens":0,"output_tokens":8}]}', 'Weather \\ é', 'm', 'Be kind.
Be kind.
Be kind.
', 4000000000, NULL, '1253c4251824f3fe373d8397c7ac2b95', NULL);
INSERT INTO agentkit_sessions VALUES ('odd \ud800 \\ \x00 é', 1795839662.7606118, 1795839662.7606118, 1795839662760612913, 2, '{}', 'odd \ud800 \\ \x00 é', 'odd \ud800 \\ \x00 é', 'odd \ud800 \\ \x00 é', NULL, 'ann', NULL, NULL);
INSERT INTO agentkit_sessions VALUES ('s1', 1795839662.764776, 1795839662.764776, 1795839662764776824, 4, '{}', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO agentkit_sessions VALUES ('s2', 1795839662.7659044, 1795839662.7659044, 1795839662765905060, 4, '{}', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO agentkit_sessions VALUES ('s0', 1795839662.7622278, 1795839662.7622278, 1795839662762228595, 4, '{}', NULL, NULL, NULL, NULL, NULL, 'c2a3e096e9ca02ae9a0f5a0c7040e8dd', NULL);
INSERT INTO agentkit_summaries VALUES ('ann', 1795839662643008663, 2, 'greetings');
INSERT INTO agentkit_summaries VALUES ('ann', 1795839662643008664, 2, 'greetings \\ again');
ALTER TABLE ONLY agentkit_calls
    ADD CONSTRAINT agentkit_calls_pkey PRIMARY KEY (session_id, idx);
ALTER TABLE ONLY agentkit_messages
    ADD CONSTRAINT agentkit_messages_pkey PRIMARY KEY (session_id, seq);
ALTER TABLE ONLY agentkit_results
    ADD CONSTRAINT agentkit_results_pkey PRIMARY KEY (session_id, id);
ALTER TABLE ONLY agentkit_schema
    ADD CONSTRAINT agentkit_schema_pkey PRIMARY KEY (version);
ALTER TABLE ONLY agentkit_sessions
    ADD CONSTRAINT agentkit_sessions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY agentkit_summaries
    ADD CONSTRAINT agentkit_summaries_pkey PRIMARY KEY (session_id, version);
CREATE INDEX agentkit_messages_by_word ON agentkit_messages USING gin (to_tsvector('simple'::regconfig, words));
CREATE INDEX agentkit_results_by_message ON agentkit_results USING btree (session_id, seq);
CREATE INDEX agentkit_sessions_by_end ON agentkit_sessions USING btree (expires) WHERE (expires IS NOT NULL);
CREATE INDEX agentkit_sessions_by_time ON agentkit_sessions USING btree (updated, id);
ALTER TABLE ONLY agentkit_calls
    ADD CONSTRAINT agentkit_calls_session_id_fkey FOREIGN KEY (session_id) REFERENCES agentkit_sessions(id) ON DELETE CASCADE;
ALTER TABLE ONLY agentkit_messages
    ADD CONSTRAINT agentkit_messages_session_id_fkey FOREIGN KEY (session_id) REFERENCES agentkit_sessions(id) ON DELETE CASCADE;
ALTER TABLE ONLY agentkit_results
    ADD CONSTRAINT agentkit_results_session_id_fkey FOREIGN KEY (session_id) REFERENCES agentkit_sessions(id) ON DELETE CASCADE;
ALTER TABLE ONLY agentkit_summaries
    ADD CONSTRAINT agentkit_summaries_session_id_fkey FOREIGN KEY (session_id) REFERENCES agentkit_sessions(id) ON DELETE CASCADE;
