-- Handles that a user gave up by taking another one. Until expire_time only that user may take the handle again.
CREATE TABLE released_handles (
    handle      TEXT PRIMARY KEY NOT NULL,
    user_id     BLOB NOT NULL REFERENCES users (user_id),
    expire_time INTEGER NOT NULL
) STRICT;

-- How many a user has, and which are due for deletion.
CREATE INDEX released_handles_user_id ON released_handles (user_id);
CREATE INDEX released_handles_expire_time ON released_handles (expire_time);
