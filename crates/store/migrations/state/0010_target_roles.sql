-- Roles that were made at targets for one session each, from before they are made until they are known to be gone.
CREATE TABLE target_roles (
    name TEXT PRIMARY KEY,
    session TEXT NOT NULL,
    connection TEXT NOT NULL,
    host TEXT NOT NULL, -- of the target, as the connection had it then
    port BIGINT NOT NULL,
    database_name TEXT NOT NULL,
    acts_as TEXT NOT NULL,
    lease TEXT, -- what ends it, where a vault made it
    made_at BIGINT NOT NULL,
    failure TEXT -- why it could not be dropped yet
);
