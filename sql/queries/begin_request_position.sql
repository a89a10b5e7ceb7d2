-- The first position of a stream of requests, unless it has one: before all its entries. Locks its new row.
INSERT INTO analytics.request_position (stream, last_id) VALUES (%(stream)s, '0-0')
ON CONFLICT DO NOTHING
