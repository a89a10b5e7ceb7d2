-- What a run found and could not use, up to a number. Locks nothing.
SELECT reason, subject
FROM analytics.run_problem
WHERE run = %(run)s
ORDER BY reason, subject
LIMIT %(limit)s
