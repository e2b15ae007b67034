-- What people search for: the folded words of a handle and of a display name, each with all that follows it, so that one
-- range of the primary key holds every match of a query. Written in the transaction that changes the profile.
CREATE TABLE search_terms (
    term    TEXT NOT NULL,
    user_id BLOB NOT NULL,
    PRIMARY KEY (term, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX search_terms_of_user ON search_terms (user_id, term);

-- The revision of the profile that search_terms holds. Where it differs from `revision`, a job of the service writes the
-- terms: for profiles that are older than this migration, and for changes by a process that does not know the table.
ALTER TABLE users ADD COLUMN terms_revision INTEGER NOT NULL DEFAULT 0;
CREATE INDEX users_stale_terms ON users (user_id) WHERE terms_revision <> revision;
