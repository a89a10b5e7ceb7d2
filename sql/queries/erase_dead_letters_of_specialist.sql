-- Delete the dead letters of a page of ids that name a specialist, with what was done with them. Locks their rows, and the run's
-- row of erasure.
WITH erased AS (
    DELETE FROM analytics.dead_letter
    WHERE id > %(after)s AND id <= %(until)s AND fields @> %(field)s
    RETURNING 1
)
INSERT INTO analytics.erasure AS erasure (run, what, rows)
SELECT %(run)s, 'dead_letter', count(*) FROM erased
ON CONFLICT (run, what) DO UPDATE SET rows = erasure.rows + excluded.rows
