-- The bytes of people.stored_bytes that a member has stored in this conversation.
ALTER TABLE members ADD COLUMN stored_bytes INTEGER NOT NULL DEFAULT 0;
-- The bytes in conversations that the user has left. people.stored_bytes does not contain them.
ALTER TABLE people ADD COLUMN left_bytes INTEGER NOT NULL DEFAULT 0;
-- The bytes that a former member has stored in this conversation: they count again when the user returns. Changes under
-- the lock of the conversation's row.
CREATE TABLE former_members (
    conversation_id BLOB NOT NULL REFERENCES conversations,
    user_id         BLOB NOT NULL,
    stored_bytes    INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, user_id)
) STRICT;
