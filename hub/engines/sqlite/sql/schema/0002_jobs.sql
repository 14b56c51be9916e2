-- What a collection of jobs is searched by: a row for each changing call on an array, none for any other call.
BEGIN IMMEDIATE;

CREATE TABLE job (
    call     INTEGER PRIMARY KEY,
    account  TEXT NOT NULL,
    device   TEXT NOT NULL,
    kind     TEXT NOT NULL,
    action   TEXT NOT NULL,
    instance TEXT,
    name     TEXT,
    user     TEXT NOT NULL
);
CREATE INDEX job_by_array ON job (account, device, call);

PRAGMA user_version = 2;
COMMIT;
