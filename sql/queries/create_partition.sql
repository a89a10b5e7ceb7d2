-- The ledger partition of one UTC day, if it is missing.
--
-- Locks: SHARE UPDATE EXCLUSIVE on the ledger while it is attached, which readers and writers do not feel (PARTITION OF
-- would take ACCESS EXCLUSIVE); a transaction-level advisory lock, so that two workers do not make the same one.
SELECT analytics.create_partition(%(day)s::date)
