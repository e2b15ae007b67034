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

-- Waits for open transactions of earlier processes, and keeps new ones waiting until the trigger exists: no event is
-- stored between the statements below.
LOCK TABLE outbox IN SHARE ROW EXCLUSIVE MODE;

-- The events of the outbox become jobs.
INSERT INTO jobs (job_id, kind, version, payload, create_time, update_time, due_time, attempts)
SELECT outbox_id, kind, 1, '{"account_id":"' || subject || '"}', create_time, create_time, next_attempt_time, attempt_count
FROM outbox;
DELETE FROM outbox;

-- Processes of an earlier release still write to the outbox while they are replaced. The table and its trigger go with a
-- later migration.
CREATE FUNCTION outbox_to_jobs() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO jobs (job_id, kind, version, payload, create_time, update_time, due_time)
    VALUES (NEW.outbox_id, NEW.kind, 1, '{"account_id":"' || NEW.subject || '"}', NEW.create_time, NEW.create_time,
            NEW.next_attempt_time);
    RETURN NULL;
END $$;
CREATE TRIGGER outbox_to_jobs BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION outbox_to_jobs();
