-- Fold the oldest day of the ledger that is past the retention into the baseline, and drop its partition.
--
-- Locks: writers of that partition while it is summed; then, until the end of this statement, the positions (SHARE ROW
-- EXCLUSIVE) and the ledger (ACCESS EXCLUSIVE), each waited for at most a second.
SELECT analytics.seal_oldest_day(%(ledger_days)s::integer, %(time_zone)s)
