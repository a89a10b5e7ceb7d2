-- The dates that legacy counters are noted of, and how many on each. Locks nothing.
SELECT date, count(*) AS counters
FROM analytics.legacy_counter
WHERE date BETWEEN coalesce(%(first)s::date, '-infinity') AND coalesce(%(last)s::date, 'infinity')
GROUP BY date
ORDER BY date
