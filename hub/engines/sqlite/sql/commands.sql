-- Searching the commands of a device. A search is put together from these pieces and nothing else; every value is bound.
-- job_like is the model's own function (jobs.py).

-- name: insert
INSERT INTO command (call, application, organisation, device, kind, target, name, timeout, pending)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: count_all
SELECT count(*) FROM command AS j WHERE j.application = ? AND j.device = ? AND j.organisation = ?

-- name: count
SELECT count(*)

-- name: select
-- Only numbers are sorted; what belongs to them is read for those of the page (`numbered` of journal.sql).
SELECT j.call

-- name: from_device
FROM command AS j CROSS JOIN call AS c ON c.seq = j.call
WHERE j.application = ? AND j.device = ? AND j.organisation = ?

-- name: page
LIMIT ? OFFSET ?

-- name: id
c.id

-- name: kind
j.kind

-- name: target
j.target

-- name: name
j.name

-- name: timeout
j.timeout

-- name: pending
j.pending

-- name: state
-- As `state_of` of the model has it.
CASE WHEN c.ended_at IS NULL THEN CASE WHEN c.stage IN (2, 3) THEN 4 ELSE 1 END
     WHEN c.ending = 'answered' THEN 5 WHEN c.ending IN ('cancelled', 'removed') THEN 2
     WHEN c.ending = 'expired' THEN 3 WHEN c.ending IN ('timed-out', 'unknown') THEN 7 ELSE 6 END

-- name: accepted_at
c.accepted_at
