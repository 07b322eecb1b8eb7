-- Operations that are alike are kept together, and literals in sorted runs: both cost a statement through the gateway a fraction of what rows of their own did.
-- All of this is derived from the recordings, which are read again.

DROP TABLE operation_terms;
DROP TABLE operations;
DELETE FROM uses;
DELETE FROM shape_terms;
DELETE FROM shapes;
DELETE FROM indexed_recordings;
INSERT INTO index_counters (name, value) VALUES ('bundle', 0), ('run', 0);

-- Operations of one session that were taken together, have one shape and ended alike. One that waits for its answer is alone.
CREATE TABLE bundles (
    id BIGINT PRIMARY KEY, -- in the order they were taken
    session BIGINT NOT NULL,
    shape BIGINT NOT NULL,
    subject TEXT NOT NULL,
    connection TEXT NOT NULL,
    risk BIGINT NOT NULL,
    decision TEXT NOT NULL, -- allowed, held (waiting), signed, refused
    policies TEXT NOT NULL, -- JSON array
    signers TEXT NOT NULL, -- JSON array
    classes TEXT NOT NULL, -- JSON array: data classes masked
    error TEXT, -- SQLSTATE: messages may hold values
    first_op BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    operations TEXT NOT NULL -- JSON array, four numbers each: operation, time (both since the one before), rows, microseconds (-1 until it was answered)
);
CREATE INDEX bundles_at ON bundles (last_at, id);
CREATE INDEX bundles_shape ON bundles (shape, last_at, id);
CREATE INDEX bundles_subject ON bundles (subject, last_at, id);
CREATE INDEX bundles_connection ON bundles (connection, last_at, id);
CREATE INDEX bundles_session ON bundles (session);

-- `via:…`, `decision:…`, `masked:…`, `signer:…`, `error:…`.
CREATE TABLE bundle_terms (
    term TEXT NOT NULL,
    bundle BIGINT NOT NULL,
    PRIMARY KEY (term, bundle)
);
-- Reading a recording anew removes what was derived from it.
CREATE INDEX bundle_terms_bundle ON bundle_terms (bundle);

-- Operations that have no answer yet, and their bundle.
CREATE TABLE waiting (
    session BIGINT NOT NULL,
    op BIGINT NOT NULL,
    bundle BIGINT NOT NULL,
    PRIMARY KEY (session, op)
);

-- Keyed hashes of literals, sorted within a run. Runs cover bundles in their order and never overlap; the newest are merged as they become many.
CREATE TABLE literal_runs (
    id BIGINT PRIMARY KEY,
    entries BIGINT NOT NULL,
    first_bundle BIGINT NOT NULL,
    last_bundle BIGINT NOT NULL
);
CREATE TABLE literal_chunks (
    run BIGINT NOT NULL,
    last BIGINT NOT NULL, -- highest hash in it
    place BIGINT NOT NULL, -- number in the run
    first BIGINT NOT NULL, -- lowest hash in it
    entries TEXT NOT NULL, -- base64; 16 bytes each: hash (7), bundle (5), operation counted from the bundle's first (4)
    PRIMARY KEY (run, last, place)
);
