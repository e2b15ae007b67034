-- Durable jobs (kit_data::jobs). A waiting job is due from due_time. A running job is claimed until due_time, and then due
-- again. claims numbers the claims: a change by an earlier claim has no effect. A recurring job has a schedule and one row.
CREATE TABLE jobs (
    job_id      BLOB PRIMARY KEY NOT NULL,
    kind        TEXT NOT NULL,
    version     INTEGER NOT NULL,
    payload     TEXT NOT NULL,
    schedule    TEXT,
    state       TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'dead')),
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    due_time    INTEGER NOT NULL,
    claims      INTEGER NOT NULL DEFAULT 0,
    attempts    INTEGER NOT NULL DEFAULT 0,
    lost_leases INTEGER NOT NULL DEFAULT 0,
    failure     TEXT NOT NULL DEFAULT '',
    CONSTRAINT jobs_schedule_key UNIQUE (schedule)
) STRICT;
CREATE INDEX jobs_due ON jobs (kind, due_time, job_id) WHERE state <> 'dead';

-- The events of the outbox become jobs. JSON has the id without hyphens, which a UUID is read from too.
INSERT INTO jobs (job_id, kind, version, payload, create_time, update_time, due_time, attempts)
SELECT outbox_id, kind, 1, '{"account_id":"' || lower(hex(subject)) || '"}', create_time, create_time, next_attempt_time,
    attempt_count FROM outbox;
DROP TABLE outbox;
