-- How many dead letters of each reason there are from the last 24 hours, if nobody dealt with them. Locks nothing.
SELECT reason, count(*) AS letters
FROM analytics.dead_letter
WHERE state = 'buried' AND buried_at > now() - interval '24 hours'
GROUP BY reason
ORDER BY count(*) DESC, reason
