-- Dead letters by state, reason and time, the newest first; or those with these ids, whatever else is asked. Locks nothing.
-- How many are `left` is counted up to `counted` (NULL: all), which for the pages of a million would take hours.
SELECT id, buried_at::timestamptz(3) AS buried_at, stream, entry_id, reason, fields, state, count(*) OVER () AS left
FROM (
    SELECT *
    FROM analytics.dead_letter
    WHERE id < %(before)s
      AND CASE
          WHEN %(ids)s::bigint[] IS NOT NULL THEN id = ANY (%(ids)s)
          ELSE state = %(state)s
               AND (%(reason)s::text IS NULL OR reason = %(reason)s)
               AND (%(since)s::timestamptz IS NULL OR buried_at >= %(since)s)
               AND (%(until)s::timestamptz IS NULL OR buried_at < %(until)s)
          END
    ORDER BY id DESC
    LIMIT %(counted)s
) AS matching
ORDER BY id DESC
LIMIT %(limit)s
