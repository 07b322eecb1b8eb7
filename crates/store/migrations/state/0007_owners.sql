-- Since when nobody answers for a workload or agent. `expires_at` is its deadline then, or earlier.
ALTER TABLE identities ADD COLUMN orphaned_at BIGINT;
-- And when it would end if somebody did.
ALTER TABLE identities ADD COLUMN full_expires_at BIGINT;
-- When its tokens were revoked because nobody took it on in time.
ALTER TABLE identities ADD COLUMN stopped_at BIGINT;
-- Whether somebody is signed in, or was lately.
CREATE INDEX sign_ins_identity ON sign_ins (identity, ended_at);
