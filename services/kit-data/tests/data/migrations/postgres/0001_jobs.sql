-- Durable jobs (kit_data::jobs). A waiting job is due from due_time. A running job is claimed until due_time, and then due
-- again. claims numbers the claims: a change by an earlier claim has no effect. A recurring job has a schedule and one row.
CREATE TABLE jobs (
    job_id      UUID PRIMARY KEY,
    kind        TEXT NOT NULL,
    version     INTEGER NOT NULL,
    payload     TEXT NOT NULL,
    schedule    TEXT,
    state       TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'dead')),
    create_time TIMESTAMPTZ NOT NULL,
    update_time TIMESTAMPTZ NOT NULL,
    due_time    TIMESTAMPTZ NOT NULL,
    claims      BIGINT NOT NULL DEFAULT 0,
    attempts    BIGINT NOT NULL DEFAULT 0,
    lost_leases BIGINT NOT NULL DEFAULT 0,
    failure     TEXT NOT NULL DEFAULT '',
    CONSTRAINT jobs_schedule_key UNIQUE (schedule)
);
CREATE INDEX jobs_due ON jobs (kind, due_time, job_id) WHERE state <> 'dead';
