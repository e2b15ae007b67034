-- email_verify_time: when the owner proved to read mail at the address; NULL: an unverified claim. release_time: when the
-- account lost its address to the owner of the address, and has none since. language: of the client that signed up.
ALTER TABLE accounts ADD COLUMN email_verify_time TIMESTAMPTZ;
ALTER TABLE accounts ADD COLUMN release_time TIMESTAMPTZ;
ALTER TABLE accounts ADD COLUMN language TEXT NOT NULL DEFAULT '';
CREATE INDEX accounts_released ON accounts (release_time) WHERE release_time IS NOT NULL;

-- Mails that are not sent yet; a job sends each of them. account_id is NULL until the first attempt where only the address
-- is known. The token of its link is sealed until the mail is sent, and only its hash stays.
CREATE TABLE mails (
    mail_id      UUID PRIMARY KEY,
    kind         TEXT NOT NULL,
    account_id   UUID,
    recipient    TEXT NOT NULL,
    language     TEXT NOT NULL,
    details      TEXT NOT NULL,
    sealed_token BYTEA,
    expire_time  TIMESTAMPTZ,
    create_time  TIMESTAMPTZ NOT NULL
);
CREATE INDEX mails_by_account ON mails (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX mails_by_create_time ON mails (create_time);

-- Tokens of links by their SHA-256. A token proves that its bearer reads mail at the address, until it is deleted by its use.
-- binding is the SHA-256 of the secret of the browser that asked for the link, if it must use it.
CREATE TABLE mail_tokens (
    token_hash  BYTEA PRIMARY KEY,
    kind        TEXT NOT NULL,
    account_id  UUID NOT NULL REFERENCES accounts ON DELETE CASCADE,
    email       TEXT NOT NULL,
    binding     BYTEA,
    expire_time TIMESTAMPTZ NOT NULL
);
CREATE INDEX mail_tokens_by_account ON mail_tokens (account_id, kind);
CREATE INDEX mail_tokens_by_expire_time ON mail_tokens (expire_time);

-- The mailbox of a server without SMTP on a developer's machine: the newest mails as they would be sent.
CREATE TABLE mailbox (
    mail_id     UUID PRIMARY KEY,
    recipient   TEXT NOT NULL,
    subject     TEXT NOT NULL,
    body        TEXT NOT NULL,
    create_time TIMESTAMPTZ NOT NULL
);
CREATE INDEX mailbox_by_create_time ON mailbox (create_time, mail_id);
