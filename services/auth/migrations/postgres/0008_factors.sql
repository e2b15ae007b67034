-- second_factor: whether a sign-in needs a second factor. It stands in the account's row, so that its lock orders the opening of
-- sessions and the changes of factors.
ALTER TABLE accounts ADD COLUMN second_factor BOOLEAN NOT NULL DEFAULT FALSE;

-- Whether the session was opened with a proof of the second factor.
ALTER TABLE sessions ADD COLUMN second_factor BOOLEAN NOT NULL DEFAULT FALSE;

-- The authenticator app of an account (RFC 6238). The secret is encrypted, bound to both ids. Until confirm_time it has no effect,
-- and only the session that began it may confirm it. last_step is the last step whose code was accepted: no code works twice.
-- failures counts wrong codes in a row while the password is the one with the number failures_of.
CREATE TABLE totp_factors (
    account_id    UUID PRIMARY KEY REFERENCES accounts ON DELETE CASCADE,
    factor_id     UUID NOT NULL,
    session_id    UUID NOT NULL,
    sealed_secret BYTEA NOT NULL,
    create_time   TIMESTAMPTZ NOT NULL,
    confirm_time  TIMESTAMPTZ,
    last_use_time TIMESTAMPTZ,
    last_step     BIGINT NOT NULL DEFAULT -1,
    failures      BIGINT NOT NULL DEFAULT 0,
    failures_of   BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX totp_factors_pending ON totp_factors (create_time) WHERE confirm_time IS NULL;

-- Codes that replace a second factor once, by their SHA-256. A used code is deleted.
CREATE TABLE recovery_codes (
    code_hash  BYTEA PRIMARY KEY,
    account_id UUID NOT NULL REFERENCES accounts ON DELETE CASCADE
);
CREATE INDEX recovery_codes_by_account ON recovery_codes (account_id);

-- Sign-ins with the right password that wait for a second factor, by the SHA-256 of their token. attempts counts codes before
-- they are verified. Its use deletes a challenge.
CREATE TABLE sign_in_challenges (
    challenge_hash BYTEA PRIMARY KEY,
    account_id     UUID NOT NULL REFERENCES accounts ON DELETE CASCADE,
    password_no    BIGINT NOT NULL,
    attempts       BIGINT NOT NULL DEFAULT 0,
    expire_time    TIMESTAMPTZ NOT NULL
);
CREATE INDEX sign_in_challenges_by_account ON sign_in_challenges (account_id);
CREATE INDEX sign_in_challenges_by_expire_time ON sign_in_challenges (expire_time);
