-- The audit log (kit_data::audit). A record is inserted in the transaction of the change, and sealed later: seq and hash
-- extend the hash chain. personal is encrypted under the key of person_id. No other column is ever changed.
CREATE TABLE audit_events (
    event_id       BLOB PRIMARY KEY NOT NULL,
    create_time    INTEGER NOT NULL,
    action         TEXT NOT NULL,
    principal_kind TEXT NOT NULL,
    principal      TEXT NOT NULL,
    session        TEXT NOT NULL,
    peer           TEXT NOT NULL,
    target         TEXT NOT NULL,
    code           TEXT NOT NULL,
    reason         TEXT NOT NULL,
    calls          INTEGER NOT NULL,
    trace_id       TEXT NOT NULL,
    person_id      BLOB,
    personal       BLOB NOT NULL,
    seq            INTEGER,
    hash           BLOB,
    CONSTRAINT audit_events_seq_key UNIQUE (seq)
) STRICT;
CREATE INDEX audit_events_unsealed ON audit_events (create_time, event_id) WHERE seq IS NULL;
CREATE INDEX audit_events_by_time ON audit_events (create_time, event_id);
CREATE INDEX audit_events_by_principal ON audit_events (principal, create_time, event_id);
CREATE INDEX audit_events_by_target ON audit_events (target, create_time, event_id);
CREATE INDEX audit_events_by_action ON audit_events (action, create_time, event_id);

-- The keys of persons. NULL: the person was erased, and gets no key again.
CREATE TABLE audit_keys (
    person_id   BLOB PRIMARY KEY NOT NULL,
    key         BLOB,
    create_time INTEGER NOT NULL
) STRICT;

-- The end of the chain, whose lock orders the seals, and its beginning: the last pruned record.
CREATE TABLE audit_head (
    singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
    seq       INTEGER NOT NULL,
    hash      BLOB NOT NULL,
    base_seq  INTEGER NOT NULL,
    base_hash BLOB NOT NULL
) STRICT;
INSERT INTO audit_head (singleton, seq, hash, base_seq, base_hash) VALUES (1, 0, zeroblob(32), 0, zeroblob(32));
