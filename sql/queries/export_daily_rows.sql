-- All daily rows from one date to another, in the order of date and specialist; the sources a column each. Locks nothing.
SELECT "id", "specialistId", "date", "profileViews", "contactViews", "consultationRequests", "orders", "reviews",
       analytics.source_views("sources", 'catalog') AS "catalog", analytics.source_views("sources", 'search') AS "search",
       analytics.source_views("sources", 'direct') AS "direct", analytics.source_views("sources", 'other') AS "other",
       "conversionRateProfileToContact", "conversionRateContactToRequest", "conversionRateRequestToOrder",
       "createdAt", "updatedAt"
FROM "SpecialistAnalyticsDaily"
WHERE "date" BETWEEN %(first)s AND %(last)s
ORDER BY "date", "specialistId"
