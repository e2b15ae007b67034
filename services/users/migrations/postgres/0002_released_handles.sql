-- Handles that a user gave up by taking another one. Until expire_time only that user may take the handle again.
CREATE TABLE released_handles (
    handle      TEXT COLLATE "C" PRIMARY KEY,
    user_id     UUID NOT NULL REFERENCES users (user_id),
    expire_time TIMESTAMPTZ NOT NULL
);

-- How many a user has, and which are due for deletion.
CREATE INDEX released_handles_user_id ON released_handles (user_id);
CREATE INDEX released_handles_expire_time ON released_handles (expire_time);
