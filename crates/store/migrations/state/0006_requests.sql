-- Access that is asked for, and what was granted of it.
CREATE TABLE requests (
    id TEXT PRIMARY KEY,
    requester TEXT NOT NULL REFERENCES identities (name),
    connection TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    granted_until BIGINT, -- NULL unless it was granted and nobody ended it
    content TEXT NOT NULL -- the whole row, JSON
);
CREATE INDEX requests_created ON requests (created_at);
CREATE INDEX requests_requester ON requests (requester, created_at);
CREATE INDEX requests_waiting ON requests (created_at) WHERE state = 'waiting';
CREATE INDEX requests_granted ON requests (granted_until) WHERE granted_until IS NOT NULL;

-- The granted request for one statement that a token was minted for: it ends with it.
ALTER TABLE tokens ADD COLUMN request TEXT;
CREATE INDEX tokens_request ON tokens (request) WHERE request IS NOT NULL;
