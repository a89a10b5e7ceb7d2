-- Assign the outcomes of dates, of everybody or of some specialists, and the rates that follow from them: only to rows that are
-- otherwise, so that a minute without outcomes writes nothing.
--
-- Locks: the daily rows that change, in ("specialistId", date) order. Wants lock_outcome_refresh before it in the same
-- transaction.
WITH wrong AS MATERIALIZED (
    SELECT * FROM analytics.wrong_outcomes(%(first)s, %(last)s, %(time_zone)s, %(specialists)s)
),
assigned AS (
    INSERT INTO "SpecialistAnalyticsDaily" AS daily
        ("id", "specialistId", "date", "consultationRequests", "orders", "reviews", "sources",
         "conversionRateRequestToOrder", "updatedAt")
    SELECT gen_random_uuid()::text, specialist_id, date, consultation_requests, orders, reviews,
           analytics.sources(0, 0, 0, 0), analytics.conversion_rate(orders, consultation_requests),
           now() AT TIME ZONE 'UTC'
    FROM wrong
    ORDER BY specialist_id COLLATE "C", date
    ON CONFLICT ("specialistId", "date") DO UPDATE SET
        "consultationRequests" = excluded."consultationRequests",
        "orders" = excluded."orders",
        "reviews" = excluded."reviews",
        "conversionRateContactToRequest" = analytics.conversion_rate(
            excluded."consultationRequests", daily."contactViews"),
        "conversionRateRequestToOrder" = excluded."conversionRateRequestToOrder",
        "updatedAt" = excluded."updatedAt"
)
SELECT count(*)::integer AS rows FROM wrong
