-- How many dead letters lie buried for each reason. Locks nothing.
SELECT reason, count(*) AS letters, max(buried_at)::timestamptz(0) AS latest
FROM analytics.dead_letter
WHERE state = 'buried'
GROUP BY reason
ORDER BY count(*) DESC, reason
