-- The buried dead letters of these entries of a stream. Locks nothing.
SELECT id, buried_at::timestamptz(3) AS buried_at, stream, entry_id, reason, fields, state, 0 AS left
FROM analytics.dead_letter
WHERE stream = %(stream)s AND entry_id = ANY (%(entry_ids)s::text[]) AND state = 'buried'
ORDER BY id
