-- The bytes that a conversation's log takes: its bodies, and 200 for the rest of each entry. Changes with the entries, under
-- the lock of the conversation's row.
ALTER TABLE conversations ADD COLUMN stored_bytes BIGINT NOT NULL DEFAULT 0;
