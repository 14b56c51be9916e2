-- Whether an attempt that was given back may have reached the device: such a call is never told as unsent. Of those that
-- wait while the hub is brought up to date, a retry that was paid for is what there is to tell it by.
BEGIN IMMEDIATE;

ALTER TABLE call ADD COLUMN maybe_sent INTEGER NOT NULL DEFAULT 0;
UPDATE call SET maybe_sent = 1 WHERE ended_at IS NULL AND retries_used > 0;

PRAGMA user_version = 6;
COMMIT;
