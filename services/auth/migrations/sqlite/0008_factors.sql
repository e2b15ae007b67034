-- second_factor: whether a sign-in needs a second factor. It stands in the account's row, so that its lock orders the opening of
-- sessions and the changes of factors.
ALTER TABLE accounts ADD COLUMN second_factor INTEGER NOT NULL DEFAULT 0;

-- Whether the session was opened with a proof of the second factor.
ALTER TABLE sessions ADD COLUMN second_factor INTEGER NOT NULL DEFAULT 0;

-- The authenticator app of an account (RFC 6238). The secret is encrypted, bound to both ids. Until confirm_time it has no effect,
-- and only the session that began it may confirm it. last_step is the last step whose code was accepted: no code works twice.
-- failures counts wrong codes in a row while the password is the one with the number failures_of.
CREATE TABLE totp_factors (
    account_id    BLOB PRIMARY KEY NOT NULL REFERENCES accounts ON DELETE CASCADE,
    factor_id     BLOB NOT NULL,
    session_id    BLOB NOT NULL,
    sealed_secret BLOB NOT NULL,
    create_time   INTEGER NOT NULL,
    confirm_time  INTEGER,
    last_use_time INTEGER,
    last_step     INTEGER NOT NULL DEFAULT -1,
    failures      INTEGER NOT NULL DEFAULT 0,
    failures_of   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX totp_factors_pending ON totp_factors (create_time) WHERE confirm_time IS NULL;

-- Codes that replace a second factor once, by their SHA-256. A used code is deleted.
CREATE TABLE recovery_codes (
    code_hash  BLOB PRIMARY KEY NOT NULL,
    account_id BLOB NOT NULL REFERENCES accounts ON DELETE CASCADE
) STRICT;
CREATE INDEX recovery_codes_by_account ON recovery_codes (account_id);

-- Sign-ins with the right password that wait for a second factor, by the SHA-256 of their token. attempts counts codes before
-- they are verified. Its use deletes a challenge.
CREATE TABLE sign_in_challenges (
    challenge_hash BLOB PRIMARY KEY NOT NULL,
    account_id     BLOB NOT NULL REFERENCES accounts ON DELETE CASCADE,
    password_no    INTEGER NOT NULL,
    attempts       INTEGER NOT NULL DEFAULT 0,
    expire_time    INTEGER NOT NULL
) STRICT;
CREATE INDEX sign_in_challenges_by_account ON sign_in_challenges (account_id);
CREATE INDEX sign_in_challenges_by_expire_time ON sign_in_challenges (expire_time);
