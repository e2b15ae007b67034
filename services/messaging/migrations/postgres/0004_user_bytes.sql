-- The bytes of the messages, edits and titles that a user has stored, in all conversations: their bodies, and 200 for the
-- rest of each entry. Changes with the entries, under the lock of the user's row.
ALTER TABLE people ADD COLUMN stored_bytes BIGINT NOT NULL DEFAULT 0;
