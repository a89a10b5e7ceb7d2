-- One daily row. Locks nothing.
SELECT "profileViews" AS profile_views, "contactViews" AS contact_views,
       analytics.source_views("sources", 'catalog') AS catalog, analytics.source_views("sources", 'search') AS search,
       analytics.source_views("sources", 'direct') AS direct, analytics.source_views("sources", 'other') AS other,
       "conversionRateProfileToContact" AS profile_to_contact, "conversionRateContactToRequest" AS contact_to_request,
       "conversionRateRequestToOrder" AS request_to_order,
       "consultationRequests" AS consultation_requests, "orders" AS orders, "reviews" AS reviews,
       "createdAt" AT TIME ZONE 'UTC' AS created_at, "updatedAt" AT TIME ZONE 'UTC' AS updated_at
FROM "SpecialistAnalyticsDaily"
WHERE "specialistId" = %(specialist)s AND "date" = %(date)s
