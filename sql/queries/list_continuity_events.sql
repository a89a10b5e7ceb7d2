-- The latest findings about the streams. Locks nothing.
SELECT happened_at::timestamptz(0) AS happened_at, stream, verdict, action, lost
FROM analytics.continuity_event
ORDER BY id DESC
LIMIT 5
