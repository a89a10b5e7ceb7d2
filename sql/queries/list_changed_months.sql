-- Of the noted months up to a date and behind one of some specialist: the first month, and its first specialists. Locks
-- nothing.
WITH noted AS (
    SELECT month, specialist_id
    FROM analytics.changed_month
    WHERE month <= %(through)s AND (month, specialist_id) > (%(month)s, %(after)s)
)
SELECT month, array_agg(specialist_id ORDER BY specialist_id) AS specialists
FROM (
    SELECT DISTINCT month, specialist_id
    FROM noted
    WHERE month = (SELECT min(month) FROM noted)
    ORDER BY specialist_id
    LIMIT %(limit)s
) AS first_ones
GROUP BY month
