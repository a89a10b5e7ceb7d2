-- The specialists whose profile has other totals than the sum of all dates. Locks nothing.
SELECT "id"
FROM "SpecialistProfile"
LEFT JOIN analytics.profile_totals(%(since)s) ON specialist_id = "id"
WHERE ("profileViews", "contactViews") IS DISTINCT FROM (coalesce(profile_views, 0), coalesce(contact_views, 0))
ORDER BY "id" COLLATE "C"
