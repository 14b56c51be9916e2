-- Typed records with revisions.

-- name: revision
SELECT revision FROM record WHERE kind = ? AND id = ?;

-- name: put
INSERT INTO record (kind, id, account, revision, body, secret) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (kind, id) DO UPDATE
SET account = excluded.account, revision = excluded.revision, body = excluded.body, secret = excluded.secret;

-- name: get
SELECT id, account, revision, body, secret FROM record WHERE kind = ? AND id = ?;

-- name: list
SELECT id, account, revision, body, secret FROM record WHERE kind = ? ORDER BY id;

-- name: delete
DELETE FROM record WHERE kind = ? AND id = ?;
