-- Begin to keep a position for a stream; does nothing if somebody else just did. Locks the new row only.
INSERT INTO analytics.stream_position (stream, epoch, last_id, ordinal)
VALUES (%(stream)s, %(epoch)s, %(last_id)s, %(ordinal)s)
ON CONFLICT (stream) DO NOTHING
