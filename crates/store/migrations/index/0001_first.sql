-- Derived from the recordings. Runs on SQLite and PostgreSQL alike: TEXT, and BIGINT for numbers and for times (microseconds since 1970-01-01 UTC).
-- Sessions are their 60-bit numbers here: these tables are the large ones.

CREATE TABLE index_counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO index_counters (name, value) VALUES ('shape', 0);

CREATE TABLE index_settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- How far each recording was read: up to so many records of this frame of this segment.
CREATE TABLE indexed_recordings (
    session BIGINT PRIMARY KEY,
    segment BIGINT NOT NULL,
    frame BIGINT NOT NULL,
    records BIGINT NOT NULL,
    complete BIGINT NOT NULL, -- 1 once its last record was read
    chain TEXT NOT NULL, -- as people read it
    members TEXT NOT NULL, -- JSON array of names
    connection TEXT NOT NULL,
    database_name TEXT NOT NULL
);

-- A statement without its literals, with what it means on one connection.
CREATE TABLE shapes (
    id BIGINT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL,
    pairs TEXT NOT NULL, -- JSON array of [action, object]
    risk BIGINT NOT NULL,
    uses BIGINT NOT NULL -- how many operations have it
);

CREATE INDEX shapes_risk ON shapes (risk);

-- Words of the text, and `table:…`, `action:…`, `function:…`.
CREATE TABLE shape_terms (
    term TEXT NOT NULL,
    shape BIGINT NOT NULL REFERENCES shapes (id),
    PRIMARY KEY (term, shape)
);

CREATE TABLE operations (
    session BIGINT NOT NULL,
    op BIGINT NOT NULL,
    at BIGINT NOT NULL,
    shape BIGINT NOT NULL,
    subject TEXT NOT NULL,
    connection TEXT NOT NULL,
    risk BIGINT NOT NULL,
    decision TEXT NOT NULL, -- allowed, held (waiting), signed, refused
    policies TEXT NOT NULL, -- JSON array
    signers TEXT NOT NULL, -- JSON array
    classes TEXT NOT NULL, -- JSON array: data classes masked
    row_count BIGINT, -- none until it was answered
    duration_us BIGINT,
    error TEXT, -- SQLSTATE: messages may hold values
    PRIMARY KEY (session, op)
);
CREATE INDEX operations_at ON operations (at);
CREATE INDEX operations_shape ON operations (shape, at);
CREATE INDEX operations_subject ON operations (subject, at);
CREATE INDEX operations_connection ON operations (connection, at);

-- What belongs to one operation: `=` and the keyed hash of a literal, `via:…`, `decision:…`, `masked:…`, `signer:…`, `error:…`.
CREATE TABLE operation_terms (
    term TEXT NOT NULL,
    session BIGINT NOT NULL,
    op BIGINT NOT NULL,
    PRIMARY KEY (term, session, op)
);
-- Reading a recording anew removes what was derived from it.
CREATE INDEX operation_terms_session ON operation_terms (session);

-- What ran, by who took part, what was done and to what. Kept for a session whose recording is gone.
CREATE TABLE uses (
    session BIGINT NOT NULL,
    identity TEXT NOT NULL,
    connection TEXT NOT NULL,
    database_name TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    count BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (session, identity, connection, database_name, action, object)
);
CREATE INDEX uses_identity ON uses (identity);
CREATE INDEX uses_object ON uses (object);
