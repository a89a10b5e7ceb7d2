-- The visitors of those specialists whose row of a date is behind: how many events the ledger counts, how many different
-- visitors they name, and the first eight bytes of each one's hash, for the sketch.
--
-- A row is behind where the daily row, less the baseline, has another number of views than the visitors were counted from:
-- by the one formula those are the events of the ledger, so no clock is asked, and events that came late are seen on
-- whatever date. A date of which a UTC day was sealed is never counted again, nor is a row of which the ledger has fewer
-- events than before: it lost some.
--
-- It counts each minute, and who looks at numbers meanwhile shall not wait for a processor: so after some 3,000 events, which
-- take about 3 ms, it rests for 10 ms, and does so again when it gathers the visitors that it found; for some `rest_s` seconds
-- in all. Locks nothing.
WITH stale AS MATERIALIZED (
    SELECT "specialistId" AS specialist_id, daily.views, stored.events AS known_events,
           stored.time_zone IS DISTINCT FROM %(time_zone)s AS other_zone
    FROM (
        SELECT "specialistId", "profileViews" + "contactViews" AS views
        FROM "SpecialistAnalyticsDaily"
        WHERE "date" = %(date)s
    ) AS daily
    LEFT JOIN (
        SELECT specialist_id, sum(profile_views + contact_views) AS views
        FROM analytics.baseline
        WHERE date = %(date)s
        GROUP BY specialist_id
    ) AS baseline ON baseline.specialist_id = "specialistId"
    LEFT JOIN (
        SELECT specialist_id, events, time_zone FROM analytics.daily_visitors WHERE date = %(date)s
    ) AS stored ON stored.specialist_id = "specialistId"
    WHERE (daily.views - coalesce(baseline.views, 0) <> coalesce(events, 0) OR time_zone <> %(time_zone)s)
      AND NOT EXISTS (
          SELECT FROM analytics.sealed_day WHERE day >= analytics.first_utc_day(%(date)s, %(time_zone)s)
      )
),
pause AS MATERIALIZED (
    SELECT least(0.0003, %(rest_s)s / 0.02 / greatest(sum(views), 1))::float AS chance FROM stale
)
SELECT specialist_id, coalesce(counted.events, 0)::integer AS events, coalesce(visitors, 0)::integer AS visitors,
       coalesce(hashes, '') AS hashes
FROM stale
LEFT JOIN (
    SELECT specialist_id, sum(events) AS events, count(visitor) AS visitors,
           string_agg(substring(uuid_send(visitor) FOR 8), '') AS hashes
    FROM (
        SELECT specialist_id, visitor, count(*) AS events
        FROM (
            SELECT specialist_id, visitor
            FROM analytics.event
            WHERE specialist_id IN (SELECT specialist_id FROM stale)
              AND day BETWEEN analytics.first_utc_day(%(date)s, %(time_zone)s)
                          AND analytics.last_utc_day(%(date)s, %(time_zone)s)
              AND analytics.local_date(occurred_at, %(time_zone)s) = %(date)s
              AND excluded IS NULL
            OFFSET 0 -- or PostgreSQL would rest after those that it does not count
        ) AS event
        WHERE CASE WHEN random() < (SELECT chance FROM pause) THEN pg_sleep(0.01) IS NOT NULL ELSE true END
        GROUP BY specialist_id, visitor
    ) AS visitor_events
    WHERE CASE WHEN random() < (SELECT chance FROM pause) THEN pg_sleep(0.01) IS NOT NULL ELSE true END
    GROUP BY specialist_id
) AS counted USING (specialist_id)
WHERE CASE
    WHEN known_events IS NULL THEN visitors > 0
    ELSE other_zone OR coalesce(counted.events, 0) > known_events
END
