-- How far a stream of requests has been read. Locks nothing.
SELECT last_id FROM analytics.request_position WHERE stream = %(stream)s
