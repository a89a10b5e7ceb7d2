-- What a specialist's date has of requests, orders and reviews by now, in the site's tables; no row if there are none. Locks
-- nothing.
SELECT consultation_requests, orders, reviews
FROM analytics.outcomes(%(date)s, %(time_zone)s)
WHERE specialist_id = %(specialist)s
