-- Searching the jobs of an array. A search is put together from these pieces and nothing else; every value is bound.
-- job_like, job_described and job_status are the model's own functions (jobs.py).

-- name: insert
INSERT INTO job (call, account, device, kind, action, instance, name, user) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: made
UPDATE job SET instance = ? WHERE call = (SELECT seq FROM call WHERE id = ?) AND instance IS NULL;

-- name: count_all
SELECT count(*) FROM job AS j WHERE j.account = ? AND j.device = ?

-- name: count
SELECT count(*)

-- name: select
SELECT c.id, c.account, c.application, c.device, c.ref, c.stage, c.attempt, c.retries_used, c.accepted_at, c.sent_at,
       c.incarnation, c.ended_at, c.note, (SELECT a.body FROM asked AS a WHERE a.call = c.seq), e.epoch, e.place, e.body

-- name: from_array
FROM job AS j CROSS JOIN call AS c ON c.seq = j.call LEFT JOIN ended AS e ON e.call = c.seq
WHERE j.account = ? AND j.device = ?

-- name: from_open
-- What has not ended is little, however many jobs there are.
FROM call AS c INDEXED BY call_open CROSS JOIN job AS j ON j.call = c.seq LEFT JOIN ended AS e ON e.call = c.seq
WHERE c.ended_at IS NULL AND j.account = ? AND j.device = ?

-- name: from_ids
FROM call AS c CROSS JOIN job AS j ON j.call = c.seq LEFT JOIN ended AS e ON e.call = c.seq
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
CASE WHEN c.ended_at IS NULL THEN CASE WHEN c.stage IN (2, 3) THEN 'IN_PROGRESS' ELSE 'QUEUED' END
     WHEN c.ending = 'answered' THEN 'COMPLETED' WHEN c.ending = 'unknown' THEN 'UNRECOVERABLE_FAILED'
     ELSE 'FAILED' END

-- name: phase
CASE WHEN c.ended_at IS NULL THEN CASE WHEN c.stage IN (2, 3) THEN 'In_Progress' ELSE 'Queued' END
     WHEN c.ending = 'answered' THEN 'Completed' WHEN c.ending = 'unknown' THEN 'Unrecoverable_Failed'
     ELSE 'Failed' END

-- name: start_time
c.accepted_at

-- name: end_time
c.ended_at

-- name: progress
CASE WHEN c.ended_at IS NULL THEN 0 ELSE 100 END

-- name: step_order
c.accepted_at / 1000000

-- name: user
j.user

-- name: status
job_status(e.body)

-- name: unset
NULL
