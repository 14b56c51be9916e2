-- Moments are whole microseconds since 1970 (UTC). Blobs are MessagePack unless said otherwise.
-- A schema step runs in one transaction and records itself in user_version; steps are never edited
-- after a release, only followed by the next number.
BEGIN IMMEDIATE;

-- How a call stands: narrow, changed several times. stage: 0 accepted, 1 parked, 2 sent, 3 waiting,
-- 4 done. sent_at is meaningful only when attempt > 0. kept_until: end of the idempotency key that
-- names the call (0 = none), before which the call is not forgotten.
CREATE TABLE call (
    seq          INTEGER PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    account      TEXT NOT NULL,
    application  TEXT NOT NULL,
    device       TEXT NOT NULL,
    ref          TEXT NOT NULL,
    stage        INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    retries_used INTEGER NOT NULL DEFAULT 0,
    accepted_at  INTEGER NOT NULL,
    sent_at      INTEGER NOT NULL,
    kept_until   INTEGER NOT NULL,
    incarnation  TEXT,
    ended_at     INTEGER,
    ending       TEXT,
    note         BLOB
);
CREATE INDEX call_by_account ON call (account, id);
-- On ended_at, not on stage: only the first and the last step of a call touch this index.
CREATE INDEX call_open ON call (seq) WHERE ended_at IS NULL;

-- What was asked: wide, never changed, so that a step never rewrites a payload.
CREATE TABLE asked (
    call INTEGER PRIMARY KEY,
    body BLOB NOT NULL
);

-- How a call ended: the outcome and the place of its completion.
CREATE TABLE ended (
    call  INTEGER PRIMARY KEY,
    epoch TEXT,
    place INTEGER,
    body  BLOB NOT NULL
);

CREATE TABLE mark (
    application TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    expires_at  INTEGER NOT NULL,
    body        BLOB NOT NULL,
    PRIMARY KEY (application, key)
) WITHOUT ROWID;
CREATE INDEX mark_by_expiry ON mark (expires_at);

-- AUTOINCREMENT: the number of a deleted channel never comes back, so leftovers can be cleared later.
CREATE TABLE channel (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL UNIQUE,
    account    TEXT NOT NULL,
    epoch      TEXT NOT NULL,
    head       INTEGER NOT NULL,
    first      INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,
    created_at INTEGER NOT NULL
);
CREATE INDEX channel_by_account ON channel (account);

CREATE TABLE event (
    channel INTEGER NOT NULL,
    place   INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    body    BLOB NOT NULL,
    PRIMARY KEY (channel, place)
) WITHOUT ROWID;

-- Channels that were deleted and whose events are still to be cleared, piece by piece.
CREATE TABLE gone_channel (
    id INTEGER PRIMARY KEY
);

CREATE TABLE reader (
    channel INTEGER NOT NULL REFERENCES channel (id) ON DELETE CASCADE,
    name    TEXT NOT NULL,
    epoch   TEXT NOT NULL,
    place   INTEGER NOT NULL,
    PRIMARY KEY (channel, name)
) WITHOUT ROWID;

CREATE TABLE delivery (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint   TEXT NOT NULL,
    account    TEXT NOT NULL,
    channel    INTEGER NOT NULL,
    epoch      TEXT NOT NULL,
    place      INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    url        TEXT,
    view       TEXT NOT NULL,
    attrs      BLOB,
    last_error TEXT,
    dead_at    INTEGER
);
CREATE INDEX delivery_due ON delivery (due_at, endpoint) WHERE dead_at IS NULL;
CREATE INDEX delivery_dead ON delivery (account, endpoint) WHERE dead_at IS NOT NULL;
CREATE INDEX delivery_died ON delivery (dead_at) WHERE dead_at IS NOT NULL;
CREATE INDEX delivery_by_event ON delivery (channel, place);

-- secret is sealed (bound to kind/id), never as it is.
CREATE TABLE record (
    kind     TEXT NOT NULL,
    id       TEXT NOT NULL,
    account  TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body     BLOB NOT NULL,
    secret   BLOB,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;

PRAGMA user_version = 1;
COMMIT;
