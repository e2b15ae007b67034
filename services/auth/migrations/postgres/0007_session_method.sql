-- How the user proved who they are when the session was opened (RFC 8176): a password, or a link in a mail.
ALTER TABLE sessions ADD COLUMN method TEXT NOT NULL DEFAULT 'pwd';
