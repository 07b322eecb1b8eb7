-- The end of a workload or agent that its owner was told is near.
ALTER TABLE identities ADD COLUMN expiry_told BIGINT;
