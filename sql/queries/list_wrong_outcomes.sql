-- The daily rows of a date whose outcomes refresh_outcomes would change: what they have (NULL: there is no row), and what they
-- should have. Where only rates are wrong, diff_day has the row. Locks nothing.
SELECT wrong.specialist_id,
       daily."consultationRequests" AS has_requests, wrong.consultation_requests AS requests,
       daily."orders" AS has_orders, wrong.orders,
       daily."reviews" AS has_reviews, wrong.reviews
FROM analytics.wrong_outcomes(%(date)s, %(date)s, %(time_zone)s, %(specialists)s) AS wrong
LEFT JOIN "SpecialistAnalyticsDaily" AS daily ON daily."specialistId" = wrong.specialist_id AND daily."date" = wrong.date
WHERE (daily."consultationRequests", daily."orders", daily."reviews")
      IS DISTINCT FROM (wrong.consultation_requests, wrong.orders, wrong.reviews)
ORDER BY wrong.specialist_id COLLATE "C"
