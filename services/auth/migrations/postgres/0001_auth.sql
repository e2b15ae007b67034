-- This instance, one row: the id is a part of the session cookie's name.
CREATE TABLE instance (
    singleton   SMALLINT PRIMARY KEY CHECK (singleton = 1),
    instance_id TEXT NOT NULL
);

-- Accounts: who somebody is to us, and how they prove it. The profile under the same id is users'. E-mail
-- addresses are kept in lower case. A deleted account keeps its row, without address and password. password_no counts
-- the owner's changes of the password, not our own new hashes of it. sign_up_attempt counts the sign-ups that went on with
-- a pending account: the last of them decides the handle, and it alone activates the account.
CREATE TABLE accounts (
    account_id    UUID PRIMARY KEY,
    email         TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    password_no   BIGINT NOT NULL DEFAULT 0,
    sign_up_attempt BIGINT NOT NULL DEFAULT 0,
    state         TEXT NOT NULL CHECK (state IN ('pending', 'active', 'suspended', 'deleted')),
    create_time   TIMESTAMPTZ NOT NULL,
    CONSTRAINT accounts_email_key UNIQUE (email)
);
CREATE INDEX accounts_pending ON accounts (create_time) WHERE state = 'pending';

-- What an account may do beyond every user.
CREATE TABLE roles (
    account_id UUID NOT NULL REFERENCES accounts ON DELETE CASCADE,
    role       TEXT NOT NULL,
    PRIMARY KEY (account_id, role)
);

-- A session is a family of refresh tokens, each the successor of the one before. The row's lock orders their
-- rotation. user_agent and address are the client's when it was used last; empty: unknown.
CREATE TABLE sessions (
    session_id    UUID PRIMARY KEY,
    account_id    UUID NOT NULL REFERENCES accounts ON DELETE CASCADE,
    create_time   TIMESTAMPTZ NOT NULL,
    last_use_time TIMESTAMPTZ NOT NULL,
    expire_time   TIMESTAMPTZ NOT NULL,
    revoke_time   TIMESTAMPTZ,
    user_agent    TEXT NOT NULL,
    address       TEXT NOT NULL
);
CREATE INDEX sessions_by_account ON sessions (account_id, last_use_time, session_id);
CREATE INDEX sessions_by_expire_time ON sessions (expire_time);
CREATE INDEX sessions_revoked ON sessions (revoke_time, session_id) WHERE revoke_time IS NOT NULL;

-- Tokens by their SHA-256. The successor is kept sealed for the grace period only.
CREATE TABLE refresh_tokens (
    token_hash       BYTEA PRIMARY KEY,
    session_id       UUID NOT NULL REFERENCES sessions ON DELETE CASCADE,
    issue_time       TIMESTAMPTZ NOT NULL,
    use_time         TIMESTAMPTZ,
    successor_hash   BYTEA,
    sealed_successor BYTEA
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_by_successor ON refresh_tokens (successor_hash) WHERE successor_hash IS NOT NULL;
CREATE INDEX refresh_tokens_sealed ON refresh_tokens (use_time) WHERE sealed_successor IS NOT NULL;
CREATE INDEX refresh_tokens_by_use_time ON refresh_tokens (use_time) WHERE use_time IS NOT NULL;

-- What other services must come to know of an account, written in the transaction that made it true. Whoever carries
-- a row out takes it by moving next_attempt_time past the time that it needs: until then nobody else does.
CREATE TABLE outbox (
    outbox_id         UUID PRIMARY KEY,
    kind              TEXT NOT NULL,
    subject           UUID NOT NULL,
    create_time       TIMESTAMPTZ NOT NULL,
    attempt_count     BIGINT NOT NULL DEFAULT 0,
    next_attempt_time TIMESTAMPTZ NOT NULL
);
CREATE INDEX outbox_due ON outbox (next_attempt_time, outbox_id);
