-- The events that were counted by the very transaction that wrote a daily row last, and the position that it moved, if nobody has
-- moved that since; or whether that transaction noted that a day that was over was not right. Always one row. The row belongs to Prisma and has no place to say who wrote it; that PostgreSQL notes it in
-- each row is enough, but for a database that was restored from a dump: then all rows are written by who restored it.
-- Locks nothing.
WITH daily AS MATERIALIZED (
    SELECT xmin FROM "SpecialistAnalyticsDaily" WHERE "specialistId" = %(specialist)s AND "date" = %(date)s
)
SELECT count(*) AS events,
       EXISTS (
           SELECT FROM analytics.day_difference
           WHERE specialist_id = %(specialist)s AND date = %(date)s AND xmin = (SELECT xmin FROM daily)
       ) AS put_right,
       (SELECT stream FROM analytics.stream_position WHERE xmin = (SELECT xmin FROM daily)) AS stream
FROM analytics.event
WHERE specialist_id = %(specialist)s
  AND day BETWEEN analytics.first_utc_day(%(date)s, %(time_zone)s) AND analytics.last_utc_day(%(date)s, %(time_zone)s)
  AND analytics.local_date(occurred_at, %(time_zone)s) = %(date)s
  AND excluded IS NULL
  AND xmin = (SELECT xmin FROM daily)
