-- The entries that ListMessages returns, so that a page costs its size however many edits and deletions follow.
CREATE INDEX IF NOT EXISTS entries_by_history ON entries (conversation_id, seq) WHERE target_no IS NULL AND erased_no IS NULL;
