-- Which rows are due is found without a look at the rows of those who have enough in hand.
BEGIN IMMEDIATE;

DROP INDEX delivery_due;
CREATE INDEX delivery_due ON delivery (due_at, endpoint, account, channel) WHERE dead_at IS NULL;

PRAGMA user_version = 5;
COMMIT;
