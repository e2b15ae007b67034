-- When the user of a session last proved who they are: at sign-in, or again later. The default is for replicas of the
-- earlier release.
ALTER TABLE sessions ADD COLUMN auth_time TIMESTAMPTZ NOT NULL DEFAULT '1970-01-01 00:00:00+00';
UPDATE sessions SET auth_time = create_time;

-- The lists of admins.
CREATE INDEX accounts_by_state ON accounts (state, account_id);
CREATE INDEX roles_by_role ON roles (role, account_id);

-- One row. Its lock orders the changes after which no admin could be left. The code makes the account that presents it
-- an admin, once; it is stored as its SHA-256.
CREATE TABLE admin_setup (
    singleton        SMALLINT PRIMARY KEY CHECK (singleton = 1),
    code_hash        BYTEA,
    code_expire_time TIMESTAMPTZ
);
INSERT INTO admin_setup (singleton) VALUES (1);
