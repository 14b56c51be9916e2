-- Deliveries to listeners that are not connected. The event itself stays in the log while a row needs it.

-- name: insert_delivery
INSERT INTO delivery (endpoint, account, channel, epoch, place, due_at, url, view, attrs)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: due
SELECT d.id, d.endpoint, d.account, c.name, d.epoch, d.place, d.due_at, d.attempts, d.url, d.view, d.attrs,
       d.last_error, d.dead_at
FROM delivery AS d JOIN channel AS c ON c.id = d.channel
WHERE d.dead_at IS NULL AND d.due_at <= ? AND d.endpoint NOT IN (SELECT value FROM json_each(?))
  AND d.account NOT IN (SELECT value FROM json_each(?))
  -- '0' comes next after '/': the names that begin with the application and a slash.
  AND d.channel NOT IN (
    SELECT own.id FROM json_each(?) AS left_out
    JOIN channel AS own ON own.name > left_out.value || '/' AND own.name < left_out.value || '0'
  )
ORDER BY d.due_at, d.id
LIMIT ?;

-- name: next_due
SELECT d.due_at FROM delivery AS d JOIN channel AS c ON c.id = d.channel
WHERE d.dead_at IS NULL AND d.due_at > :after
ORDER BY d.due_at
LIMIT 1;

-- name: event_of
SELECT c.name, d.epoch, e.place, e.at, e.kind, e.body
FROM delivery AS d
JOIN channel AS c ON c.id = d.channel
JOIN event AS e ON e.channel = d.channel AND e.place = d.place
WHERE d.id = ?;

-- name: take_out
DELETE FROM delivery WHERE id = ? RETURNING channel, place;

-- name: drop_event
DELETE FROM event
WHERE channel = :channel AND place = :place
  AND place < (SELECT first FROM channel WHERE id = :channel)
  AND NOT EXISTS (SELECT 1 FROM delivery WHERE channel = :channel AND place = :place);

-- name: failed
UPDATE delivery SET attempts = attempts + 1, last_error = ?, due_at = coalesce(?, due_at), dead_at = ?
WHERE id = ? AND dead_at IS NULL;

-- name: dead
SELECT d.id, d.endpoint, d.account, c.name, d.epoch, d.place, d.due_at, d.attempts, d.url, d.view, d.attrs,
       d.last_error, d.dead_at
FROM delivery AS d JOIN channel AS c ON c.id = d.channel
WHERE d.dead_at IS NOT NULL AND d.account = :account AND (:endpoint IS NULL OR d.endpoint = :endpoint)
  AND (:application IS NULL OR substr(c.name, 1, length(:application) + 1) = :application || '/')
  AND (:ids IS NULL OR d.id IN (SELECT value FROM json_each(:ids)))
  AND (:first IS NULL OR d.id >= :first) AND (:last IS NULL OR d.id <= :last)
  AND (:since IS NULL OR d.dead_at >= :since) AND (:until IS NULL OR d.dead_at < :until)
  AND (:after_at IS NULL OR (d.dead_at, d.id) < (:after_at, :after_id))
ORDER BY d.dead_at DESC, d.id DESC
LIMIT :limit;

-- name: replay
UPDATE delivery SET dead_at = NULL, attempts = 0, due_at = ? WHERE id = ? AND dead_at IS NOT NULL;

-- name: old_dead
SELECT id FROM delivery WHERE dead_at IS NOT NULL AND dead_at < ? ORDER BY dead_at LIMIT ?;
