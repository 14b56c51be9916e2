-- Searching the jobs of an array. A search is put together from these pieces and nothing else; every value is bound.
-- job_like, job_described, job_state and job_status are the model's own functions (jobs.py).

-- name: insert
INSERT INTO job (call, account, device, kind, action, instance, name, user, started)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: ended
UPDATE job SET state = ?, status = ?, instance = coalesce(instance, ?) WHERE call = ?;

-- name: count_all
SELECT count(*) FROM job AS j WHERE j.account = ? AND j.device = ?

-- name: count
SELECT count(*)

-- name: select
-- Only numbers are sorted; what belongs to them is read for those of the page (`numbered` of journal.sql).
SELECT j.call

-- name: from_array
FROM job AS j CROSS JOIN call AS c ON c.seq = j.call
WHERE j.account = ? AND j.device = ?

-- name: from_open
-- What has not ended is little, however many jobs there are.
FROM call AS c INDEXED BY call_open CROSS JOIN job AS j ON j.call = c.seq
WHERE c.ended_at IS NULL AND j.account = ? AND j.device = ?

-- name: from_ids
FROM call AS c CROSS JOIN job AS j ON j.call = c.seq
WHERE c.id IN (SELECT value FROM json_each(?)) AND j.account = ? AND j.device = ?

-- name: page
LIMIT ? OFFSET ?

-- name: id
c.id

-- name: resource_action
j.action

-- name: resource_type
j.kind

-- name: resource_id
j.instance

-- name: resource_name
j.name

-- name: description
job_described(j.kind, j.action)

-- name: state
-- Of jobs that ended before the two were written at the end, only the word of a device that failed is in the body.
coalesce(j.state, CASE WHEN c.ending = 'answered' THEN 'COMPLETED' WHEN c.ending = 'unknown' THEN 'UNRECOVERABLE_FAILED'
                       WHEN c.ending <> 'device-error' THEN 'FAILED'
                       WHEN c.ended_at IS NOT NULL THEN job_state((SELECT e.body FROM ended AS e WHERE e.call = j.call))
                       WHEN c.stage IN (2, 3) THEN 'IN_PROGRESS' ELSE 'QUEUED' END)

-- name: phase
CASE coalesce(j.state, CASE WHEN c.ending = 'answered' THEN 'COMPLETED'
                            WHEN c.ending = 'unknown' THEN 'UNRECOVERABLE_FAILED'
                            WHEN c.ending <> 'device-error' THEN 'FAILED'
                            WHEN c.ended_at IS NOT NULL
                            THEN job_state((SELECT e.body FROM ended AS e WHERE e.call = j.call)) END)
     WHEN 'COMPLETED' THEN 'Completed' WHEN 'FAILED' THEN 'Failed'
     WHEN 'UNRECOVERABLE_FAILED' THEN 'Unrecoverable_Failed'
     ELSE CASE WHEN c.stage IN (2, 3) THEN 'In_Progress' ELSE 'Queued' END END

-- name: start_time
j.started

-- name: end_time
c.ended_at

-- name: progress
CASE WHEN c.ended_at IS NULL THEN 0 ELSE 100 END

-- name: step_order
j.started / 1000000

-- name: user
j.user

-- name: status
coalesce(j.status, CASE WHEN c.ended_at IS NOT NULL
                        THEN job_status((SELECT e.body FROM ended AS e WHERE e.call = j.call)) END)

-- name: unset
NULL
