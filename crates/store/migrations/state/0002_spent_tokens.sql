-- When the one statement of a token was let run.
ALTER TABLE tokens ADD COLUMN spent_at BIGINT;
