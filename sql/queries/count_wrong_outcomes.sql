-- How many daily rows refresh_outcomes would change. Locks nothing.
SELECT count(*)::integer
FROM analytics.wrong_outcomes(%(first)s, %(last)s, %(time_zone)s, %(specialist)s)
