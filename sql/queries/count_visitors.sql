-- The different visitors of a specialist from one date to another as the ledger has them, on which dates there were any, and
-- whether the ledger still holds all of these dates. Always one row. Locks nothing.
SELECT count(DISTINCT visitor) AS visitors,
       coalesce(array_agg(DISTINCT analytics.local_date(occurred_at, %(time_zone)s)) FILTER (WHERE visitor IS NOT NULL),
                '{}') AS dates,
       NOT EXISTS (
           SELECT FROM analytics.sealed_day WHERE day >= analytics.first_utc_day(%(first)s, %(time_zone)s)
       ) AS in_ledger
FROM analytics.event
WHERE specialist_id = %(specialist)s
  AND day BETWEEN analytics.first_utc_day(%(first)s, %(time_zone)s) AND analytics.last_utc_day(%(last)s, %(time_zone)s)
  AND analytics.local_date(occurred_at, %(time_zone)s) BETWEEN %(first)s AND %(last)s
  AND excluded IS NULL
