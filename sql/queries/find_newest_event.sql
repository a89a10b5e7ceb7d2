-- Of the events that count in a specialist's date, the one whose entry came last into its stream. Locks nothing.
SELECT event_id::text, entry_id, stream AS shard
FROM analytics.event
WHERE specialist_id = %(specialist)s
  AND day BETWEEN analytics.first_utc_day(%(date)s, %(time_zone)s) AND analytics.last_utc_day(%(date)s, %(time_zone)s)
  AND analytics.local_date(occurred_at, %(time_zone)s) = %(date)s
  AND excluded IS NULL
ORDER BY split_part(entry_id, '-', 1)::numeric DESC, split_part(entry_id, '-', 2)::numeric DESC
LIMIT 1
