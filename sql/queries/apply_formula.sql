-- What the daily row of a specialist and date should have, by the formula; the rates with the outcomes that the row has.
-- Always one row. Locks nothing.
SELECT profile_views, contact_views, catalog, search, direct, other,
       analytics.conversion_rate(contact_views, profile_views) AS profile_to_contact,
       analytics.conversion_rate(requests, contact_views) AS contact_to_request,
       analytics.conversion_rate(orders, requests) AS request_to_order
FROM (
    SELECT coalesce(max(profile_views), 0) AS profile_views, coalesce(max(contact_views), 0) AS contact_views,
           coalesce(max(catalog), 0) AS catalog, coalesce(max(search), 0) AS search,
           coalesce(max(direct), 0) AS direct, coalesce(max(other), 0) AS other
    FROM analytics.views(%(date)s, %(time_zone)s)
    WHERE specialist_id = %(specialist)s
) AS views,
(
    SELECT coalesce(max("consultationRequests"), 0) AS requests, coalesce(max("orders"), 0) AS orders
    FROM "SpecialistAnalyticsDaily"
    WHERE "specialistId" = %(specialist)s AND "date" = %(date)s
) AS daily
