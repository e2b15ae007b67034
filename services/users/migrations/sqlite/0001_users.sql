-- Profiles. The id is the account's id in auth. Each change of a profile counts its revision up. sign_up_attempt is
-- auth's count: which attempt at the account's sign-up the handle is of. The unique handle is also what pages are ordered by.
CREATE TABLE users (
    user_id      BLOB PRIMARY KEY NOT NULL,
    handle       TEXT NOT NULL,
    display_name TEXT NOT NULL,
    state        TEXT NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'deleted')),
    create_time  INTEGER NOT NULL,
    revision     INTEGER NOT NULL DEFAULT 1,
    sign_up_attempt INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT users_handle_key UNIQUE (handle)
) STRICT;
