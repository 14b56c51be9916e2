-- When a named reader was last there: names that nobody uses are forgotten.
BEGIN IMMEDIATE;

ALTER TABLE reader ADD COLUMN used_at INTEGER NOT NULL DEFAULT 0;

PRAGMA user_version = 3;
COMMIT;
