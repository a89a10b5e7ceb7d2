-- How far a stream of requests has been read, and its books. Locks nothing.
SELECT last_id, requests, runs, dead_lettered,
       greatest(0, extract(epoch FROM now() - taken_at))::double precision AS taken_s_ago
FROM analytics.request_position
WHERE stream = %(stream)s
