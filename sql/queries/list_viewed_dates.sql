-- The dates of a range on which a specialist has views. Locks nothing.
SELECT "date"
FROM "SpecialistAnalyticsDaily"
WHERE "specialistId" = %(specialist)s AND "date" BETWEEN %(first)s AND %(last)s
  AND "profileViews" + "contactViews" > 0
