-- Apart from 0007, so that no lock on the tables is held while the entries are counted. Titles that were given when a
-- conversation was created are not counted: earlier releases did not count them.
UPDATE members SET stored_bytes = sizes.bytes
FROM (SELECT conversation_id, author_id, sum(length(body) + 200) AS bytes FROM entries
      WHERE message_no IS NOT NULL OR target_no IS NOT NULL OR substr(body, 1, 1) = x'3a'
      GROUP BY conversation_id, author_id) AS sizes
WHERE sizes.conversation_id = members.conversation_id AND sizes.author_id = members.user_id;
INSERT INTO former_members (conversation_id, user_id, stored_bytes)
SELECT conversation_id, author_id, sum(length(body) + 200) FROM entries
WHERE (message_no IS NOT NULL OR target_no IS NOT NULL OR substr(body, 1, 1) = x'3a')
AND NOT EXISTS (SELECT 1 FROM members
                WHERE members.conversation_id = entries.conversation_id AND members.user_id = entries.author_id)
GROUP BY conversation_id, author_id;
UPDATE people SET stored_bytes = people.stored_bytes - former.bytes, left_bytes = former.bytes
FROM (SELECT user_id, sum(stored_bytes) AS bytes FROM former_members GROUP BY user_id) AS former
WHERE former.user_id = people.user_id;
