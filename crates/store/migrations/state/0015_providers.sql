-- Providers of people and issuers of jobs' tokens by what the configuration calls them, as far as somebody came from there or revoked them.
CREATE TABLE providers (
    name TEXT PRIMARY KEY,
    revoked_at BIGINT, -- NULL while people and jobs may come from there
    revoked_by TEXT,
    why TEXT
);
