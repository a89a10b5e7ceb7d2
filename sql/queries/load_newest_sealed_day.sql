-- The newest UTC day that was sealed: the ledger has nothing up to it and takes nothing up to it. Locks nothing.
SELECT max(day) FROM analytics.sealed_day
