-- How many dead letters there are for each reason. Locks nothing.
SELECT reason, count(*) AS letters, max(buried_at)::timestamptz(0) AS latest
FROM analytics.dead_letter
GROUP BY reason
ORDER BY count(*) DESC, reason
