-- The open run of this kind with these arguments. Locks nothing.
SELECT id
FROM analytics.run
WHERE kind = %(kind)s AND md5(arguments::text) = md5(%(arguments)s::jsonb::text) AND state IN ('queued', 'running')
