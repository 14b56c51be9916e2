-- The channel logs. `first` is the oldest retained place; rows before it exist only for deliveries.

-- name: find_channel
SELECT id, name, account, epoch, head, first, bytes, created_at FROM channel WHERE name = ?;

-- name: make_channel
INSERT INTO channel (name, account, epoch, head, first, bytes, created_at) VALUES (?, ?, ?, 0, 1, 0, ?);

-- name: move_head
UPDATE channel SET head = ?, first = ?, bytes = ? WHERE id = ?;

-- name: channels
SELECT name, account, epoch, head, first, bytes, created_at FROM channel
WHERE :account IS NULL OR account = :account
ORDER BY name;

-- name: insert_event
INSERT INTO event (channel, place, at, kind, body) VALUES (?, ?, ?, ?, ?);

-- name: read
SELECT place, at, kind, body FROM event WHERE channel = ? AND place > ? AND place <= ? ORDER BY place LIMIT ?;

-- name: delete_channel
DELETE FROM channel WHERE id = ?;

-- name: note_gone
INSERT INTO gone_channel (id) VALUES (?);

-- name: store_position
INSERT INTO reader (channel, name, epoch, place, used_at) VALUES (:channel, :name, :epoch, :place, :used_at)
ON CONFLICT (channel, name) DO UPDATE
SET used_at = excluded.used_at,
    epoch = excluded.epoch,
    place = CASE WHEN NOT :forward OR excluded.epoch <> reader.epoch OR excluded.place > reader.place
                 THEN excluded.place ELSE reader.place END;

-- name: readers
-- Those of one channel, or of the channels from :begin up to :end.
SELECT c.name, r.name, r.epoch, r.place, r.used_at
FROM channel AS c JOIN reader AS r ON r.channel = c.id
WHERE c.name >= :begin AND c.name < :end
ORDER BY c.name, r.name;

-- name: position
SELECT r.epoch, r.place FROM reader AS r JOIN channel AS c ON c.id = r.channel WHERE c.name = ? AND r.name = ?;

-- name: forget_reader
DELETE FROM reader WHERE channel = ? AND name = ?;

-- name: over_retention
SELECT name FROM channel AS c
WHERE c.head >= c.first
  AND (c.head - c.first + 1 > :max_events
       OR c.bytes > :max_bytes
       OR (SELECT e.at FROM event AS e WHERE e.channel = c.id AND e.place = c.first) < :before);

-- name: oldest_events
SELECT place, at, length(body) FROM event WHERE channel = ? AND place >= ? ORDER BY place LIMIT ?;

-- name: trim_events
DELETE FROM event
WHERE channel = ? AND place >= ? AND place <= ?
  AND NOT EXISTS (SELECT 1 FROM delivery AS d WHERE d.channel = event.channel AND d.place = event.place);

-- name: gone_channels
SELECT id FROM gone_channel ORDER BY id;

-- name: clear_gone_deliveries
DELETE FROM delivery WHERE id IN (SELECT id FROM delivery WHERE channel = ? LIMIT ?);

-- name: clear_gone_events
DELETE FROM event WHERE channel = :channel AND place IN (
    SELECT place FROM event WHERE channel = :channel ORDER BY place LIMIT :limit
);

-- name: forget_gone
DELETE FROM gone_channel WHERE id = ?;
