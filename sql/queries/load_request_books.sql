-- How far a stream of requests has been read, and its books. Locks nothing.
SELECT last_id, requests, runs, dead_lettered,
       CASE WHEN taken_at IS NOT NULL THEN greatest(0, extract(epoch FROM now() - taken_at)) END::double precision AS taken_s_ago
FROM analytics.request_position
WHERE stream = %(stream)s
