-- The dates on which a specialist's views are not what the formula says. Locks nothing.
SELECT date
FROM analytics.wrong_rows_between(%(first)s, %(last)s, %(time_zone)s, %(specialist)s)
ORDER BY date
