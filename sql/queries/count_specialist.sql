-- How much is kept about a specialist on some dates (NULL: in the tables without dates), by table. Locks nothing.
SELECT what, rows
FROM analytics.erase_specialist(%(specialist)s, %(dates)s::date[], %(time_zone)s, true)
WHERE rows > 0
