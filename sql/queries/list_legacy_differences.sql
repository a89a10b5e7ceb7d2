-- The legacy totals that are farthest from the sum of their parts. Locks nothing.
SELECT name, specialist_id, parts, total
FROM analytics.legacy_check
WHERE parts <> total
ORDER BY abs(total - parts) DESC, name, specialist_id
LIMIT %(most)s
