-- Of each specialist, how many daily rows refresh_outcomes would change; who has none is not there. Locks nothing.
SELECT specialist_id, count(*)::integer AS rows
FROM analytics.wrong_outcomes(%(first)s, %(last)s, %(time_zone)s, %(specialists)s)
GROUP BY specialist_id
