-- Delete what is kept about a specialist on some dates (NULL: in the tables without dates), and write down how much. Wants
-- lock_positions before it in the same transaction. Locks the rows that go, and the run's rows of erasure.
INSERT INTO analytics.erasure AS erasure (run, what, rows)
SELECT %(run)s, what, rows
FROM analytics.erase_specialist(%(specialist)s, %(dates)s::date[], %(time_zone)s, false)
WHERE rows > 0
ON CONFLICT (run, what) DO UPDATE SET rows = erasure.rows + excluded.rows
