-- The journal. A guard is a set of stages as a bit mask, computed from the lifecycle table.

-- name: insert_call
INSERT INTO call (id, account, application, device, ref, stage, attempt, accepted_at, sent_at, kept_until, incarnation)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_asked
INSERT INTO asked (call, body) VALUES (?, ?);

-- name: get_mark
SELECT fingerprint, expires_at, body FROM mark WHERE application = ? AND key = ? AND expires_at > ?;

-- name: put_mark
INSERT INTO mark (application, key, fingerprint, expires_at, body) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (application, key) DO UPDATE
SET fingerprint = excluded.fingerprint, expires_at = excluded.expires_at, body = excluded.body;

-- name: claim
UPDATE call SET stage = ?, attempt = attempt + 1, incarnation = ?, sent_at = ?
WHERE id = ? AND (1 << stage) & ?;

-- name: release
UPDATE call SET stage = ?, retries_used = retries_used + ?, maybe_sent = maybe_sent OR ?, incarnation = NULL
WHERE id = ? AND incarnation = ? AND (1 << stage) & ?;

-- name: park
UPDATE call SET stage = ? WHERE id = ? AND (1 << stage) & ?;

-- name: adopt
UPDATE call SET incarnation = ? WHERE id = ? AND incarnation IS NOT ? AND (1 << stage) & ?;

-- name: checkpoint
UPDATE call SET stage = ?, note = ? WHERE id = ? AND incarnation = ? AND (1 << stage) & ?;

-- name: finish
-- Without RETURNING, which costs more than the whole update.
UPDATE call SET stage = ?, ended_at = ?, ending = ?
WHERE id = ? AND (1 << stage) & ?;

-- name: insert_ended
INSERT INTO ended (call, epoch, place, body) SELECT seq, ?, ?, ? FROM call WHERE id = ?;

-- name: account_of
SELECT account FROM call WHERE id = ?;

-- name: get
SELECT c.id, c.account, c.application, c.device, c.ref, c.stage, c.attempt, c.retries_used, c.maybe_sent, c.accepted_at,
       c.sent_at, c.incarnation, c.ended_at, c.note, a.body, e.epoch, e.place, e.body
FROM call AS c JOIN asked AS a ON a.call = c.seq LEFT JOIN ended AS e ON e.call = c.seq
WHERE c.id = ?;

-- name: list
SELECT c.id, c.account, c.application, c.device, c.ref, c.stage, c.attempt, c.retries_used, c.maybe_sent, c.accepted_at,
       c.sent_at, c.incarnation, c.ended_at, c.note, a.body, e.epoch, e.place, e.body
FROM call AS c JOIN asked AS a ON a.call = c.seq LEFT JOIN ended AS e ON e.call = c.seq
WHERE c.account = :account
  AND (:after IS NULL OR c.id < :after)
  AND (:application IS NULL OR c.application = :application)
  AND (:device IS NULL OR c.device = :device)
  AND (:ref IS NULL OR c.ref = :ref)
  AND (1 << c.stage) & :stages
  AND (:ending IS NULL OR c.ending = :ending)
  AND (:since IS NULL OR c.accepted_at >= :since)
  AND (:until IS NULL OR c.accepted_at < :until)
ORDER BY c.id DESC
LIMIT :limit;

-- name: numbered
SELECT c.id, c.account, c.application, c.device, c.ref, c.stage, c.attempt, c.retries_used, c.maybe_sent, c.accepted_at,
       c.sent_at, c.incarnation, c.ended_at, c.note, a.body, e.epoch, e.place, e.body
FROM json_each(?) AS page CROSS JOIN call AS c ON c.seq = page.value JOIN asked AS a ON a.call = c.seq
LEFT JOIN ended AS e ON e.call = c.seq
ORDER BY page.key;

-- name: open_calls
SELECT c.id, c.account, c.application, c.device, c.ref, c.stage, c.attempt, c.retries_used, c.maybe_sent, c.accepted_at,
       c.sent_at, c.incarnation, c.ended_at, c.note, a.body, NULL, NULL, NULL, c.seq
FROM call AS c INDEXED BY call_open JOIN asked AS a ON a.call = c.seq
WHERE c.ended_at IS NULL AND c.seq > ?
ORDER BY c.seq
LIMIT ?;

-- name: under_way_since
-- Asked seldom, so no index on ended_at has to be paid for. The name of the adapter is in the packed body: what does not
-- hold it anywhere need not be unpacked.
SELECT c.id, c.account, c.application, c.device, c.ref, c.stage, c.attempt, c.retries_used, c.maybe_sent, c.accepted_at,
       c.sent_at, c.incarnation, c.ended_at, c.note, a.body, e.epoch, e.place, e.body, c.seq
FROM call AS c NOT INDEXED CROSS JOIN asked AS a ON a.call = c.seq LEFT JOIN ended AS e ON e.call = c.seq
WHERE c.seq > ? AND c.attempt > 0 AND (c.ended_at IS NULL OR c.ended_at >= ?) AND instr(a.body, ?)
ORDER BY c.seq
LIMIT ?;

-- name: count_ended
SELECT (SELECT count(*) FROM call) - (SELECT count(*) FROM call INDEXED BY call_open WHERE ended_at IS NULL);

-- name: old_calls
-- Calls are numbered in the order of acceptance, and nothing ends before it is accepted: what was
-- accepted after the moment need not be looked at, so no index on ended_at has to be paid for.
SELECT seq FROM call
WHERE seq < coalesce((SELECT seq FROM call WHERE accepted_at >= :before ORDER BY seq LIMIT 1), 9223372036854775807)
  AND ended_at < :before AND kept_until <= :now
ORDER BY seq
LIMIT :limit;

-- name: surplus_calls
SELECT seq FROM call WHERE ended_at IS NOT NULL AND kept_until <= :now ORDER BY seq LIMIT :limit;

-- name: forget_call
DELETE FROM call WHERE seq = ?;

-- name: forget_asked
DELETE FROM asked WHERE call = ?;

-- name: forget_job
DELETE FROM job WHERE call = ?;

-- name: forget_command
DELETE FROM command WHERE call = ?;

-- name: forget_ended
DELETE FROM ended WHERE call = ?;

-- name: forget_marks
DELETE FROM mark WHERE (application, key) IN (
    SELECT application, key FROM mark WHERE expires_at <= ? ORDER BY expires_at LIMIT ?
);

