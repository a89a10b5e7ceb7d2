-- How many of the legacy totals are the sum of their parts, and by how much the others are more or less. Locks nothing.
SELECT name,
       count(*) FILTER (WHERE parts = total) AS agree,
       count(*) FILTER (WHERE parts <> total) AS differ,
       coalesce(sum(total - parts) FILTER (WHERE total > parts), 0)::bigint AS total_has_more,
       coalesce(sum(parts - total) FILTER (WHERE total < parts), 0)::bigint AS total_has_less
FROM analytics.legacy_check
GROUP BY name
ORDER BY name
