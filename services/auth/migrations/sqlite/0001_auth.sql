-- This instance, one row: the id is a part of the session cookie's name.
CREATE TABLE instance (
    singleton   INTEGER PRIMARY KEY CHECK (singleton = 1),
    instance_id TEXT NOT NULL
) STRICT;

-- Accounts: who somebody is to us, and how they prove it. The profile under the same id is users'. E-mail
-- addresses are kept in lower case. A deleted account keeps its row, without address and password. password_no counts
-- the owner's changes of the password, not our own new hashes of it. sign_up_attempt counts the sign-ups that went on with
-- a pending account: the last of them decides the handle, and it alone activates the account.
CREATE TABLE accounts (
    account_id    BLOB PRIMARY KEY NOT NULL,
    email         TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    password_no   INTEGER NOT NULL DEFAULT 0,
    sign_up_attempt INTEGER NOT NULL DEFAULT 0,
    state         TEXT NOT NULL CHECK (state IN ('pending', 'active', 'suspended', 'deleted')),
    create_time   INTEGER NOT NULL,
    CONSTRAINT accounts_email_key UNIQUE (email)
) STRICT;
CREATE INDEX accounts_pending ON accounts (create_time) WHERE state = 'pending';

-- What an account may do beyond every user.
CREATE TABLE roles (
    account_id BLOB NOT NULL REFERENCES accounts ON DELETE CASCADE,
    role       TEXT NOT NULL,
    PRIMARY KEY (account_id, role)
) STRICT;

-- A session is a family of refresh tokens, each the successor of the one before. The row's lock orders their
-- rotation. user_agent and address are the client's when it was used last; empty: unknown.
CREATE TABLE sessions (
    session_id    BLOB PRIMARY KEY NOT NULL,
    account_id    BLOB NOT NULL REFERENCES accounts ON DELETE CASCADE,
    create_time   INTEGER NOT NULL,
    last_use_time INTEGER NOT NULL,
    expire_time   INTEGER NOT NULL,
    revoke_time   INTEGER,
    user_agent    TEXT NOT NULL,
    address       TEXT NOT NULL
) STRICT;
CREATE INDEX sessions_by_account ON sessions (account_id, last_use_time, session_id);
CREATE INDEX sessions_by_expire_time ON sessions (expire_time);
CREATE INDEX sessions_revoked ON sessions (revoke_time, session_id) WHERE revoke_time IS NOT NULL;

-- Tokens by their SHA-256. The successor is kept sealed for the grace period only.
CREATE TABLE refresh_tokens (
    token_hash       BLOB PRIMARY KEY NOT NULL,
    session_id       BLOB NOT NULL REFERENCES sessions ON DELETE CASCADE,
    issue_time       INTEGER NOT NULL,
    use_time         INTEGER,
    successor_hash   BLOB,
    sealed_successor BLOB
) STRICT;
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_by_successor ON refresh_tokens (successor_hash) WHERE successor_hash IS NOT NULL;
CREATE INDEX refresh_tokens_sealed ON refresh_tokens (use_time) WHERE sealed_successor IS NOT NULL;
CREATE INDEX refresh_tokens_by_use_time ON refresh_tokens (use_time) WHERE use_time IS NOT NULL;

-- What other services must come to know of an account, written in the transaction that made it true. Whoever carries
-- a row out takes it by moving next_attempt_time past the time that it needs: until then nobody else does.
CREATE TABLE outbox (
    outbox_id         BLOB PRIMARY KEY NOT NULL,
    kind              TEXT NOT NULL,
    subject           BLOB NOT NULL,
    create_time       INTEGER NOT NULL,
    attempt_count     INTEGER NOT NULL DEFAULT 0,
    next_attempt_time INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_due ON outbox (next_attempt_time, outbox_id);
