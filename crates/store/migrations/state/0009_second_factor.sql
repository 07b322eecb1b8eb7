-- Since when a code is asked for with the password of a built-in user, and the step of the last one that was used.
ALTER TABLE identities ADD COLUMN second_factor_at BIGINT;
ALTER TABLE identities ADD COLUMN second_factor_step BIGINT;
