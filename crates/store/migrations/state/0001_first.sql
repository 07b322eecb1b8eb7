-- Runs on SQLite and PostgreSQL alike: TEXT, and BIGINT for numbers and for times (microseconds since 1970-01-01 UTC).

CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('event', 0), ('application', 0);

CREATE TABLE identities (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    folded_name TEXT NOT NULL UNIQUE, -- the name in lower case: no two names differ by case alone
    kind TEXT NOT NULL CHECK (kind IN ('user', 'workload', 'agent')),
    group_names TEXT NOT NULL, -- JSON array, sorted
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used BIGINT,
    owner TEXT,
    purpose TEXT,
    expires_at BIGINT,
    revoked_at BIGINT,
    revoked_by TEXT,
    password_hash TEXT, -- argon2id PHC string
    CHECK (kind = 'user' OR (owner IS NOT NULL AND purpose IS NOT NULL AND expires_at IS NOT NULL))
);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE, -- SHA-256 of the token's text, hexadecimal
    subject TEXT NOT NULL REFERENCES identities (name),
    class TEXT NOT NULL CHECK (class IN ('connect', 'api')),
    connections TEXT NOT NULL, -- JSON array
    statement TEXT,
    minted_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_used BIGINT,
    revoked_at BIGINT,
    revoked_by TEXT
);
CREATE INDEX tokens_subject ON tokens (subject, created_at);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    chain TEXT NOT NULL,
    connection TEXT NOT NULL,
    database_name TEXT NOT NULL,
    token TEXT,
    peer TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    ending TEXT,
    operations BIGINT NOT NULL
);
CREATE INDEX sessions_started ON sessions (started_at);
CREATE INDEX sessions_connection ON sessions (connection, started_at);
CREATE INDEX sessions_live ON sessions (started_at) WHERE ended_at IS NULL;

-- Every member of a session's chain, the subject too.
CREATE TABLE session_members (
    identity TEXT NOT NULL,
    session TEXT NOT NULL REFERENCES sessions (id),
    PRIMARY KEY (identity, session)
);

CREATE TABLE holds (
    id TEXT PRIMARY KEY,
    session TEXT NOT NULL,
    requester TEXT NOT NULL,
    connection TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    content TEXT NOT NULL -- the whole row, JSON
);
CREATE INDEX holds_created ON holds (created_at);
CREATE INDEX holds_waiting ON holds (created_at) WHERE state = 'waiting';

CREATE TABLE versions (
    hash TEXT PRIMARY KEY,
    files TEXT NOT NULL -- JSON object, path to text
);
CREATE TABLE applications (
    number BIGINT PRIMARY KEY,
    hash TEXT NOT NULL REFERENCES versions (hash),
    applied_by TEXT NOT NULL,
    applied_at BIGINT NOT NULL
);

CREATE TABLE events (
    number BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL -- JSON
);
CREATE INDEX events_at ON events (at);
CREATE INDEX events_subject ON events (subject, number);

CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    key_id TEXT NOT NULL,
    sealed TEXT NOT NULL, -- nonce, ciphertext and tag, hexadecimal
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);
