-- Assign the views of one date, by the formula of analytics.views: only to rows that are otherwise, so that a recompute of
-- what is right writes nothing. Outcomes stay as they are, and the rates are computed anew. With `recorded`, both numbers of
-- each row are kept in analytics.day_difference.
--
-- Locks: the daily rows that change, in ("specialistId", date) order. Wants lock_positions before it in the same transaction.
WITH wrong AS MATERIALIZED (
    SELECT * FROM analytics.wrong_rows(%(date)s, %(time_zone)s, %(specialist)s)
),
recorded AS (
    INSERT INTO analytics.day_difference
        (date, specialist_id, has_profile_views, profile_views, has_contact_views, contact_views, has_sources, sources)
    SELECT %(date)s::date, specialist_id, has_profile_views, profile_views, has_contact_views, contact_views,
           has_sources, sources
    FROM wrong
    WHERE %(recorded)s
    ORDER BY specialist_id COLLATE "C"
),
assigned AS (
    INSERT INTO "SpecialistAnalyticsDaily" AS daily
        ("id", "specialistId", "date", "profileViews", "contactViews", "sources",
         "conversionRateProfileToContact", "updatedAt")
    SELECT gen_random_uuid()::text, specialist_id, %(date)s::date, profile_views, contact_views, sources,
           analytics.conversion_rate(contact_views, profile_views), now() AT TIME ZONE 'UTC'
    FROM wrong
    ORDER BY specialist_id COLLATE "C"
    ON CONFLICT ("specialistId", "date") DO UPDATE SET
        "profileViews" = excluded."profileViews",
        "contactViews" = excluded."contactViews",
        "sources" = excluded."sources",
        "conversionRateProfileToContact" = excluded."conversionRateProfileToContact",
        "conversionRateContactToRequest" = analytics.conversion_rate(
            daily."consultationRequests", excluded."contactViews"),
        "conversionRateRequestToOrder" = analytics.conversion_rate(daily."orders", daily."consultationRequests"),
        "updatedAt" = excluded."updatedAt"
)
SELECT count(*) AS rows,
       coalesce(sum(profile_views - coalesce(has_profile_views, 0)), 0) AS profile_views,
       coalesce(sum(contact_views - coalesce(has_contact_views, 0)), 0) AS contact_views
FROM wrong
