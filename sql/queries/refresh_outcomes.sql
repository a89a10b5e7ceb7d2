-- Assign the outcomes of one date, and the rates that follow from them: only to rows that are otherwise, so that a minute
-- without outcomes writes nothing. What vanished becomes 0; a day without views gets its row; who is no specialist gets none.
--
-- Locks: the daily rows that change, in ("specialistId", date) order. Wants lock_outcome_refresh before it in the same
-- transaction.
WITH wrong AS MATERIALIZED (
    SELECT coalesce("specialistId", specialist_id) AS specialist_id, requests, orders, reviews
    FROM (
        SELECT daily.*, outcomes.specialist_id,
               coalesce(outcomes.consultation_requests, 0) AS requests,
               coalesce(outcomes.orders, 0) AS orders,
               coalesce(outcomes.reviews, 0) AS reviews
        FROM analytics.outcomes(%(date)s, %(time_zone)s) AS outcomes
        FULL JOIN (
            SELECT "specialistId", "contactViews" AS contact_views,
                   "consultationRequests" AS has_requests, "orders" AS has_orders, "reviews" AS has_reviews,
                   "conversionRateContactToRequest" AS has_to_request, "conversionRateRequestToOrder" AS has_to_order
            FROM "SpecialistAnalyticsDaily"
            WHERE "date" = %(date)s
        ) AS daily ON "specialistId" = outcomes.specialist_id
    ) AS pair
    WHERE CASE
        WHEN "specialistId" IS NULL THEN
            (requests, orders, reviews) <> (0, 0, 0)  -- an outcome of another kind is none
            AND EXISTS (SELECT FROM "SpecialistProfile" AS specialist WHERE specialist."id" = specialist_id)
        ELSE
            (has_requests, has_orders, has_reviews) <> (requests, orders, reviews)
            OR has_to_request <> analytics.conversion_rate(requests, contact_views)
            OR has_to_order <> analytics.conversion_rate(orders, requests)
        END
),
assigned AS (
    INSERT INTO "SpecialistAnalyticsDaily" AS daily
        ("id", "specialistId", "date", "consultationRequests", "orders", "reviews", "sources",
         "conversionRateRequestToOrder", "updatedAt")
    SELECT gen_random_uuid()::text, specialist_id, %(date)s::date, requests, orders, reviews,
           analytics.sources(0, 0, 0, 0), analytics.conversion_rate(orders, requests), now() AT TIME ZONE 'UTC'
    FROM wrong
    ORDER BY specialist_id COLLATE "C"
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
