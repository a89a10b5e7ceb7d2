-- How far a stream has been read. Locks nothing.
SELECT stream, epoch, last_id, ordinal
FROM analytics.stream_position
WHERE stream = %(stream)s
