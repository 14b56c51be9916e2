-- When a job began, and the state and the status that it ended with, where a search finds them without a look at the call
-- and its outcome. What had ended before is told by its outcome, as long as it is kept.
BEGIN IMMEDIATE;

ALTER TABLE job ADD COLUMN started INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN state TEXT;
ALTER TABLE job ADD COLUMN status TEXT;
UPDATE job SET started = c.accepted_at FROM call AS c WHERE c.seq = job.call;
CREATE INDEX job_by_start ON job (account, device, started);

PRAGMA user_version = 7;
COMMIT;
