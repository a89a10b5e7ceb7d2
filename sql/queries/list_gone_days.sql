-- Of the UTC days that a local date touches, those whose events are gone: no partition of the ledger, and not sealed either.
-- Locks nothing.
SELECT utc_day::date
FROM generate_series(
    analytics.first_utc_day(%(date)s, %(time_zone)s)::timestamp, analytics.last_utc_day(%(date)s, %(time_zone)s),
    interval '1 day'
) AS utc_day
WHERE NOT EXISTS (SELECT FROM analytics.sealed_day WHERE day = utc_day::date)
  AND NOT EXISTS (
      SELECT FROM pg_inherits
      WHERE inhparent = 'analytics.event'::regclass
        AND inhrelid = to_regclass('analytics.event_' || to_char(utc_day, 'YYYYMMDD'))
  )
ORDER BY utc_day
