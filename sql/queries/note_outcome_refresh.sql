-- Note that the open days were refreshed; which tables of the site are missing, and whether that is new.
-- Locks: the row of outcome_refresh.
WITH before AS MATERIALIZED (
    SELECT missing_tables FROM analytics.outcome_refresh FOR UPDATE
)
UPDATE analytics.outcome_refresh AS refresh SET
    refreshed_at = now(),
    missing_tables = analytics.missing_outcome_tables()
FROM before
RETURNING refresh.missing_tables, refresh.missing_tables <> before.missing_tables AS is_new
