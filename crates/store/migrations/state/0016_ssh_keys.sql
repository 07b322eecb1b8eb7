-- 'key' where whoever has a registered SSH key signs in with it, 'certificate' where the gateway's authority vouches for it: bound_to is its fingerprint.
ALTER TABLE tokens ADD COLUMN ssh TEXT;
