-- What is kept of a specialist's visitors on some dates. Locks nothing.
SELECT date, visitors, sketch
FROM analytics.daily_visitors
WHERE date = ANY (%(dates)s) AND specialist_id = %(specialist)s AND visitors > 0
