-- The key that whoever uses a token must have: its thumbprint, RFC 7638.
ALTER TABLE tokens ADD COLUMN bound_to TEXT;
