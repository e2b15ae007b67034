-- email_verify_time: when the owner proved to read mail at the address; NULL: an unverified claim. release_time: when the
-- account lost its address to the owner of the address, and has none since. language: of the client that signed up.
ALTER TABLE accounts ADD COLUMN email_verify_time INTEGER;
ALTER TABLE accounts ADD COLUMN release_time INTEGER;
ALTER TABLE accounts ADD COLUMN language TEXT NOT NULL DEFAULT '';
CREATE INDEX accounts_released ON accounts (release_time) WHERE release_time IS NOT NULL;

-- Mails that are not sent yet; a job sends each of them. account_id is NULL until the first attempt where only the address
-- is known. The token of its link is sealed until the mail is sent, and only its hash stays.
CREATE TABLE mails (
    mail_id      BLOB PRIMARY KEY NOT NULL,
    kind         TEXT NOT NULL,
    account_id   BLOB,
    recipient    TEXT NOT NULL,
    language     TEXT NOT NULL,
    details      TEXT NOT NULL,
    sealed_token BLOB,
    expire_time  INTEGER,
    create_time  INTEGER NOT NULL
) STRICT;
CREATE INDEX mails_by_account ON mails (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX mails_by_create_time ON mails (create_time);

-- Tokens of links by their SHA-256. A token proves that its bearer reads mail at the address, until it is deleted by its use.
-- binding is the SHA-256 of the secret of the browser that asked for the link, if it must use it.
CREATE TABLE mail_tokens (
    token_hash  BLOB PRIMARY KEY NOT NULL,
    kind        TEXT NOT NULL,
    account_id  BLOB NOT NULL REFERENCES accounts ON DELETE CASCADE,
    email       TEXT NOT NULL,
    binding     BLOB,
    expire_time INTEGER NOT NULL
) STRICT;
CREATE INDEX mail_tokens_by_account ON mail_tokens (account_id, kind);
CREATE INDEX mail_tokens_by_expire_time ON mail_tokens (expire_time);

-- The mailbox of a server without SMTP on a developer's machine: the newest mails as they would be sent.
CREATE TABLE mailbox (
    mail_id     BLOB PRIMARY KEY NOT NULL,
    recipient   TEXT NOT NULL,
    subject     TEXT NOT NULL,
    body        TEXT NOT NULL,
    create_time INTEGER NOT NULL
) STRICT;
CREATE INDEX mailbox_by_create_time ON mailbox (create_time, mail_id);
