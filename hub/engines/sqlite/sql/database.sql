-- The file itself: what is set and asked before any table is touched.

-- name: new_file
PRAGMA auto_vacuum = INCREMENTAL;

-- name: mark_ours
PRAGMA application_id = 1634235746;

-- name: whose
PRAGMA application_id;

-- name: version
PRAGMA user_version;

-- name: wal
PRAGMA journal_mode = WAL;

-- name: full_sync
PRAGMA synchronous = FULL;

-- name: auto_checkpoint
PRAGMA wal_autocheckpoint = 4000;

-- name: wal_file_limit
PRAGMA journal_size_limit = 67108864;

-- name: foreign_keys
PRAGMA foreign_keys = ON;

-- name: patience
PRAGMA busy_timeout = 5000;

-- name: writer_cache
PRAGMA cache_size = -32768;

-- name: reader_cache
PRAGMA cache_size = -8192;

-- name: memory_sorting
PRAGMA temp_store = MEMORY;

-- name: wipe_when_free
PRAGMA secure_delete = FAST;

-- name: read_only
PRAGMA query_only = ON;

-- name: check_whole
PRAGMA quick_check(1);

-- name: give_back_pages
PRAGMA incremental_vacuum(1000);

-- name: begin_write
BEGIN IMMEDIATE;

-- name: begin_read
BEGIN;

-- name: carry_over
PRAGMA wal_checkpoint(TRUNCATE);

-- name: pages
PRAGMA page_count;

-- name: page_bytes
PRAGMA page_size;

-- name: check_records
PRAGMA quick_check(record);

-- name: check_channels
PRAGMA quick_check(channel);

-- name: check_readers
PRAGMA quick_check(reader);

-- name: check_marks
PRAGMA quick_check(mark);

-- name: calls_ends
SELECT * FROM call WHERE seq IN ((SELECT min(seq) FROM call), (SELECT max(seq) FROM call));

-- name: asked_ends
SELECT * FROM asked WHERE call IN ((SELECT min(call) FROM asked), (SELECT max(call) FROM asked));

-- name: ended_ends
SELECT * FROM ended WHERE call IN ((SELECT min(call) FROM ended), (SELECT max(call) FROM ended));

-- name: events_ends
SELECT * FROM event AS e JOIN channel AS c ON e.channel = c.id AND e.place IN (c.first, c.head);

-- name: asked_journal
PRAGMA journal_mode;

-- name: asked_sync
PRAGMA synchronous;
