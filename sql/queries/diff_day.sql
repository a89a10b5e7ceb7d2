-- What a recompute of one date would change, row by row. Locks nothing.
SELECT specialist_id, has_profile_views, profile_views, has_contact_views, contact_views, has_sources, sources
FROM analytics.wrong_rows(%(date)s, %(time_zone)s, %(specialist)s)
ORDER BY specialist_id COLLATE "C"
