-- The whole daily table, to be held against a straight count. Locks nothing.
SELECT "specialistId" AS specialist, "date" AS date, "profileViews" AS profile_views, "contactViews" AS contact_views,
       "sources" AS sources, "conversionRateProfileToContact" AS rate
FROM "SpecialistAnalyticsDaily"
