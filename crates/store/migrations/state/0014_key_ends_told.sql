-- When the owner was told that the end of a key is near.
ALTER TABLE identity_keys ADD COLUMN end_told_at BIGINT;
