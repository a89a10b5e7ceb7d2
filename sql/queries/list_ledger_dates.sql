-- The dates that have a part in the ledger, or of one UTC day of it, the newest first. Locks nothing.
SELECT DISTINCT local_day::date
FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid
CROSS JOIN to_date(substring(child.relname FROM '^event_(\d{8})$'), 'YYYYMMDD') AS utc_day
CROSS JOIN generate_series(utc_day - interval '1 day', utc_day + interval '1 day', interval '1 day') AS local_day
WHERE inhparent = 'analytics.event'::regclass AND child.relname ~ '^event_\d{8}$'
  AND (%(utc_day)s::date IS NULL OR utc_day = %(utc_day)s)
  AND utc_day BETWEEN analytics.first_utc_day(local_day::date, %(time_zone)s)
                  AND analytics.last_utc_day(local_day::date, %(time_zone)s)
ORDER BY 1 DESC
