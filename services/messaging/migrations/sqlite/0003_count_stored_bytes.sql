-- Apart from 0002, so that no lock on the tables is held while the entries are counted.
UPDATE conversations SET stored_bytes = sizes.bytes
FROM (SELECT conversation_id, sum(length(body) + 200) AS bytes FROM entries GROUP BY conversation_id) AS sizes
WHERE sizes.conversation_id = conversations.conversation_id;
