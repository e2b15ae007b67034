-- Apart from 0004, so that no lock on the tables is held while the entries are counted.
UPDATE people SET stored_bytes = sizes.bytes
FROM (SELECT author_id, sum(length(body) + 200) AS bytes FROM entries
      WHERE message_no IS NOT NULL OR target_no IS NOT NULL OR substr(body, 1, 1) = '\x3a'::bytea GROUP BY author_id) AS sizes
WHERE sizes.author_id = people.user_id;
