-- The oldest queued run of a kind. Locks nothing.
SELECT id, attempt, arguments
FROM analytics.run
WHERE kind = %(kind)s AND state = 'queued'
ORDER BY id
LIMIT 1
