-- Which tokens of an issuer are a workload's.
CREATE TABLE trust_rules (
    id TEXT PRIMARY KEY,
    identity TEXT NOT NULL REFERENCES identities (name),
    issuer TEXT NOT NULL, -- as the configuration calls it
    anchor TEXT NOT NULL, -- what that was when the rule was made: platform and issuer
    claims TEXT NOT NULL, -- JSON object, name to text: all of them, exactly
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used BIGINT,
    revoked_at BIGINT,
    revoked_by TEXT
);
CREATE INDEX trust_rules_issuer ON trust_rules (issuer) WHERE revoked_at IS NULL;
CREATE INDEX trust_rules_identity ON trust_rules (identity);

-- The run of a workload that a token was exchanged for, and by which rule.
ALTER TABLE tokens ADD COLUMN run TEXT; -- JSON
ALTER TABLE tokens ADD COLUMN trust TEXT;
CREATE INDEX tokens_trust ON tokens (trust) WHERE trust IS NOT NULL;
