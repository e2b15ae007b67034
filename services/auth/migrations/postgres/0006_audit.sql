-- The audit log (kit_data::audit). A record is inserted in the transaction of the change, and sealed later: seq and hash
-- extend the hash chain. personal is encrypted under the key of person_id. No other column is ever changed.
CREATE TABLE audit_events (
    event_id       UUID PRIMARY KEY,
    create_time    TIMESTAMPTZ NOT NULL,
    action         TEXT COLLATE "C" NOT NULL,
    principal_kind TEXT COLLATE "C" NOT NULL,
    principal      TEXT COLLATE "C" NOT NULL,
    session        TEXT COLLATE "C" NOT NULL,
    peer           TEXT COLLATE "C" NOT NULL,
    target         TEXT COLLATE "C" NOT NULL,
    code           TEXT COLLATE "C" NOT NULL,
    reason         TEXT COLLATE "C" NOT NULL,
    calls          BIGINT NOT NULL,
    trace_id       TEXT COLLATE "C" NOT NULL,
    person_id      UUID,
    personal       BYTEA NOT NULL,
    seq            BIGINT,
    hash           BYTEA,
    CONSTRAINT audit_events_seq_key UNIQUE (seq)
);
CREATE INDEX audit_events_unsealed ON audit_events (create_time, event_id) WHERE seq IS NULL;
CREATE INDEX audit_events_by_time ON audit_events (create_time, event_id);
CREATE INDEX audit_events_by_principal ON audit_events (principal, create_time, event_id);
CREATE INDEX audit_events_by_target ON audit_events (target, create_time, event_id);
CREATE INDEX audit_events_by_action ON audit_events (action, create_time, event_id);

-- The keys of persons. NULL: the person was erased, and gets no key again.
CREATE TABLE audit_keys (
    person_id   UUID PRIMARY KEY,
    key         BYTEA,
    create_time TIMESTAMPTZ NOT NULL
);

-- The end of the chain, whose lock orders the seals, and its beginning: the last pruned record.
CREATE TABLE audit_head (
    singleton SMALLINT PRIMARY KEY CHECK (singleton = 1),
    seq       BIGINT NOT NULL,
    hash      BYTEA NOT NULL,
    base_seq  BIGINT NOT NULL,
    base_hash BYTEA NOT NULL
);
INSERT INTO audit_head (singleton, seq, hash, base_seq, base_hash)
VALUES (1, 0, decode(repeat('00', 32), 'hex'), 0, decode(repeat('00', 32), 'hex'));
