-- Profiles. The id is the account's id in auth. The unique handle is also what pages are ordered by.
CREATE TABLE users (
    user_id      BLOB PRIMARY KEY NOT NULL,
    handle       TEXT NOT NULL,
    display_name TEXT NOT NULL,
    state        TEXT NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'deleted')),
    create_time  INTEGER NOT NULL,
    CONSTRAINT users_handle_key UNIQUE (handle)
) STRICT;
