-- What a collection of commands is searched by: a row for each command to a device, none for any other call.
BEGIN IMMEDIATE;

CREATE TABLE command (
    call         INTEGER PRIMARY KEY,
    application  TEXT NOT NULL,
    organisation TEXT NOT NULL,
    device       TEXT NOT NULL,
    kind         INTEGER NOT NULL,
    target       TEXT NOT NULL,
    name         TEXT NOT NULL,
    timeout      INTEGER NOT NULL,
    pending      INTEGER NOT NULL
);
CREATE INDEX command_by_device ON command (application, device, organisation, call);

PRAGMA user_version = 4;
COMMIT;
