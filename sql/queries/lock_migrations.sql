-- One at a time: who comes second waits here until the first has committed. A transaction-level lock, for PgBouncer.
SELECT pg_advisory_xact_lock(hashtext('analytics.migrate'))
