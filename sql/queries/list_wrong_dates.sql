-- The dates on which views of specialists are not what the formula says. Locks nothing.
SELECT specialist_id, date
FROM analytics.wrong_rows_between(%(first)s, %(last)s, %(time_zone)s, %(specialists)s)
ORDER BY date, specialist_id COLLATE "C"
