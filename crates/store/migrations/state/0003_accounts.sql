-- People of identity providers. Who somebody is there: the issuer and whom it means; everything else may change.
CREATE TABLE accounts (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    provider TEXT NOT NULL, -- what the configuration calls it
    identity TEXT NOT NULL REFERENCES identities (name),
    email TEXT,
    group_names TEXT NOT NULL, -- JSON array, sorted: those the provider told of last
    linked_by TEXT NOT NULL,
    linked_at BIGINT NOT NULL,
    last_sign_in BIGINT,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX accounts_identity ON accounts (identity);

CREATE TABLE sign_ins (
    id TEXT PRIMARY KEY,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    provider TEXT NOT NULL,
    identity TEXT NOT NULL REFERENCES identities (name),
    provider_session TEXT, -- what the provider calls it
    began_at BIGINT NOT NULL,
    checked_at BIGINT NOT NULL, -- when the provider last said that it stands
    tried_at BIGINT NOT NULL, -- when it was last asked, whatever it said
    checkable BIGINT NOT NULL, -- 1 if there is something to ask the provider with
    ended_at BIGINT,
    ending TEXT
);
CREATE INDEX sign_ins_account ON sign_ins (issuer, subject) WHERE ended_at IS NULL;
CREATE INDEX sign_ins_open ON sign_ins (checked_at) WHERE ended_at IS NULL;

-- The sign-in a token was minted in: it ends with it.
ALTER TABLE tokens ADD COLUMN sign_in TEXT;
CREATE INDEX tokens_sign_in ON tokens (sign_in) WHERE sign_in IS NOT NULL;

-- The groups an administrator gave, beside those providers tell of.
ALTER TABLE identities ADD COLUMN own_groups TEXT;
UPDATE identities SET own_groups = group_names;
