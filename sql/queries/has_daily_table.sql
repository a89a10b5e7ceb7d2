-- Whether the site still has the table that all of this is about. Locks nothing.
SELECT to_regclass('"SpecialistAnalyticsDaily"') IS NOT NULL
