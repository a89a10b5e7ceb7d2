-- What a specialist's date has in the ledger: local hours with what counts and what does not. An hour that a clock goes
-- through twice is two hours, with another offset from UTC. Which events are the date's is said as in analytics.views.
-- Locks nothing.
SELECT extract(hour FROM local_time)::integer AS hour, utc_offset, excluded::text,
       count(*) FILTER (WHERE type = 'profile_view') AS profile_views,
       count(*) FILTER (WHERE type = 'contact_view') AS contact_views,
       count(*) FILTER (WHERE type = 'profile_view' AND source = 'catalog') AS catalog,
       count(*) FILTER (WHERE type = 'profile_view' AND source = 'search') AS search,
       count(*) FILTER (WHERE type = 'profile_view' AND source = 'direct') AS direct,
       count(*) FILTER (WHERE type = 'profile_view' AND source = 'other') AS other
FROM (
    SELECT *, occurred_at AT TIME ZONE %(time_zone)s AS local_time,
           (occurred_at AT TIME ZONE %(time_zone)s) - (occurred_at AT TIME ZONE 'UTC') AS utc_offset
    FROM analytics.event
    WHERE specialist_id = %(specialist)s
      AND day BETWEEN analytics.first_utc_day(%(date)s, %(time_zone)s) AND analytics.last_utc_day(%(date)s, %(time_zone)s)
      AND analytics.local_date(occurred_at, %(time_zone)s) = %(date)s
) AS event
GROUP BY 1, 2, 3
ORDER BY min(occurred_at), 3 NULLS FIRST
