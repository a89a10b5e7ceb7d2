-- Dead letters of an event: those that have one of these fields, its id as it may be written. The newest first. No index helps, so every dead letter is looked at: about a
-- second a million of them. Locks nothing.
SELECT id, buried_at::timestamptz(3) AS buried_at, stream, entry_id, reason, fields, state, count(*) OVER () AS left
FROM analytics.dead_letter
WHERE fields @> ANY (%(fields)s::jsonb[])
ORDER BY id DESC
LIMIT %(limit)s
