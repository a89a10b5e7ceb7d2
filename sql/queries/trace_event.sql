-- An event in the ledger by its id alone, on each of the UTC days: a day's partition is asked by its primary key. One id is
-- another event on another day. Locks nothing.
SELECT day, occurred_at::timestamptz(3) AS occurred_at, type::text, source::text, contact_type, excluded::text,
       specialist_id, analytics.local_date(occurred_at, %(time_zone)s) AS date, entry_id, stream AS shard
FROM analytics.event
WHERE day = ANY (%(days)s::date[]) AND event_id = %(event_id)s
ORDER BY day
