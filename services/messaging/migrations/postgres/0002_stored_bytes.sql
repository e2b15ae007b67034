-- The bytes that a conversation's log takes: its bodies, and 200 for the rest of each entry. Changes with the entries, under
-- the lock of the conversation's row.
ALTER TABLE conversations ADD COLUMN stored_bytes BIGINT NOT NULL DEFAULT 0;
UPDATE conversations SET stored_bytes = sizes.bytes
FROM (SELECT conversation_id, sum(length(body) + 200) AS bytes FROM entries GROUP BY conversation_id) AS sizes
WHERE sizes.conversation_id = conversations.conversation_id;

-- The name that the code uses.
ALTER TABLE members RENAME COLUMN standing TO membership_kind;
