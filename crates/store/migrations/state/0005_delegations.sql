-- Who acts for the subject, nearest first: JSON array of names; NULL when the subject acts alone.
ALTER TABLE tokens ADD COLUMN actors TEXT;
-- 1 for a token that opens nothing itself: its actor exchanges it, with a proof of its own, for one that does. Its class says what for.
ALTER TABLE tokens ADD COLUMN delegates BIGINT NOT NULL DEFAULT 0;
-- The token it was exchanged for: it ends with it.
ALTER TABLE tokens ADD COLUMN parent TEXT;
CREATE INDEX tokens_parent ON tokens (parent) WHERE parent IS NOT NULL;
-- Tokens with actors are few among all there ever were.
CREATE INDEX tokens_actors ON tokens (actors) WHERE actors IS NOT NULL;
