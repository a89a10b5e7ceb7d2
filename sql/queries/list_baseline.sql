-- What a specialist's date has of counts whose events are not in the ledger, by origin. Locks nothing.
SELECT origin::text, profile_views, contact_views, catalog, search, direct, other
FROM analytics.baseline
WHERE date = %(date)s AND specialist_id = %(specialist)s
ORDER BY origin
