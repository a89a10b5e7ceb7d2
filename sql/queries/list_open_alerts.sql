-- The alerts that are not over. Locks nothing.
SELECT name, started_at::timestamptz(0) AS started_at, text
FROM analytics.alert
WHERE ended_at IS NULL
ORDER BY started_at, id
