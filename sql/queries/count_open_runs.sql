-- How many runs of a kind wait or go on. Locks nothing.
SELECT count(*)::integer
FROM analytics.run
WHERE kind = %(kind)s AND state IN ('queued', 'running')
