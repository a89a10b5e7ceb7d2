-- How many dead letters lie buried for each reason, of those of one reason and time. Locks nothing.
SELECT reason, count(*) AS letters
FROM analytics.dead_letter
WHERE state = 'buried'
  AND (%(reason)s::text IS NULL OR reason = %(reason)s)
  AND (%(since)s::timestamptz IS NULL OR buried_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR buried_at < %(until)s)
GROUP BY reason
ORDER BY count(*) DESC, reason
