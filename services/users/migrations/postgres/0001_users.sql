-- Profiles. The id is the account's id in auth. Each change of a profile counts its revision up. sign_up_attempt is
-- auth's count: which attempt at the account's sign-up the handle is of. Handles are compared byte by byte ("C"), so that the order of
-- pages is the same on every server.
CREATE TABLE users (
    user_id      UUID PRIMARY KEY,
    handle       TEXT COLLATE "C" NOT NULL,
    display_name TEXT NOT NULL,
    state        TEXT NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'deleted')),
    create_time  TIMESTAMPTZ NOT NULL,
    revision     BIGINT NOT NULL DEFAULT 1,
    sign_up_attempt BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT users_handle_key UNIQUE (handle)
);
