-- Public keys of workloads and agents that have no platform.
CREATE TABLE identity_keys (
    id TEXT PRIMARY KEY,
    identity TEXT NOT NULL REFERENCES identities (name),
    thumbprint TEXT NOT NULL UNIQUE, -- RFC 7638: a key is given to one identity, once
    public_key TEXT NOT NULL, -- JWK
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_used BIGINT,
    revoked_at BIGINT,
    revoked_by TEXT
);
CREATE INDEX identity_keys_identity ON identity_keys (identity);

-- Ids of what works once, until it would not work any more.
CREATE TABLE used_ids (
    digest TEXT PRIMARY KEY, -- SHA-256 of whose it is and its id
    identity TEXT NOT NULL,
    forget_at BIGINT NOT NULL
);
CREATE INDEX used_ids_forget ON used_ids (forget_at);
CREATE INDEX used_ids_identity ON used_ids (identity);

-- The key a token was asked for with.
ALTER TABLE tokens ADD COLUMN key_id TEXT;
CREATE INDEX tokens_key ON tokens (key_id) WHERE key_id IS NOT NULL;
