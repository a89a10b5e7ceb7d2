-- All that a reading says of one specialist: one statement, and so one moment and one round trip. What is the same for every
-- specialist, `read_counting` says before; since when events are kept is true as long as `sealed_through` is the same. Always
-- one row; lists are arrays, of which those of one name belong together. There may be days among them that were not asked
-- for; they are in order, and no date is there twice. Locks nothing.
WITH packing AS MATERIALIZED (
    SELECT through FROM analytics.packing WHERE time_zone = %(time_zone)s AND through IS NOT NULL
),
changed AS MATERIALIZED (
    SELECT DISTINCT month FROM analytics.changed_month WHERE specialist_id = %(specialist)s
),
packed AS MATERIALIZED (
    SELECT *
    FROM analytics.packed_month
    WHERE specialist_id = %(specialist)s
      AND month BETWEEN date_trunc('month', %(first_before)s::date)::date AND %(last)s
      AND month <= (SELECT through FROM packing)
      AND month NOT IN (SELECT month FROM changed)
),
-- The days behind what is packed, which may be further for this specialist than for all, and the months that changed.
open AS (
    SELECT greatest(%(first_before)s, (SELECT through + 1 FROM packing), (SELECT max(through) + 1 FROM packed)) AS first,
           %(last)s::date AS last
    UNION ALL
    SELECT greatest(%(first_before)s, month), least(%(last)s, through, (month + interval '1 month - 1 day')::date)
    FROM changed, packing
),
months AS MATERIALIZED (
    SELECT * FROM packed
    UNION ALL
    SELECT days.*
    FROM open, analytics.pack_days(%(specialist)s, open.first, open.last, %(time_zone)s) AS days
    WHERE open.first <= open.last
),
facts AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM "SpecialistProfile" WHERE "id" = %(specialist)s) AS known,
           (SELECT min("date") FROM "SpecialistAnalyticsDaily"
            WHERE "specialistId" = %(specialist)s AND "date" >= %(first_before)s) AS first_day,
           (SELECT max(day) FROM analytics.sealed_day) AS sealed_through,
           (SELECT split_part(last_id, '-', 1)::bigint FROM analytics.stream_position WHERE stream = %(stream)s)
               AS last_read_ms
),
days AS (
    SELECT analytics.concat(dates) AS dates,
           analytics.concat(numbers) AS numbers,
           analytics.concat(visitor_dates) AS visitor_dates,
           analytics.concat(visitors) AS visitor_numbers,
           analytics.concat(sketches) AS visitor_sketches
    FROM (SELECT * FROM months ORDER BY through) AS months  -- no two of them have a day in common
),
contact_types AS (
    SELECT array_agg(contact_type) AS contact_types, array_agg(views) AS contact_type_views
    FROM (
        SELECT contact_type, sum(views) AS views
        FROM months, unnest(contact_dates, months.contact_types, typed_views) AS typed (date, contact_type, views)
        -- What was packed before its events were sealed is not of the days that the types are said to be of.
        WHERE date BETWEEN greatest(%(first)s, %(ledger_since)s::date) AND %(last)s
        GROUP BY contact_type
    ) AS counted
),
-- What was lost came after the last entry that had been read, and before somebody noticed. Of a stream of another number of
-- shards nobody can say that the specialist's events were not in it. A restart after which nothing is missing is no loss.
losses AS (
    SELECT array_agg(first ORDER BY id DESC) AS loss_first,
           array_agg(last ORDER BY id DESC) AS loss_last,
           array_agg(lost ORDER BY id DESC) AS loss_entries
    FROM (
        SELECT id, lost,
               analytics.local_date(happened_at, %(time_zone)s) AS last,
               analytics.local_date(least(
                   to_timestamp(nullif(split_part(stored ->> 'last_id', '-', 1)::bigint, 0) / 1000.0), happened_at
               ), %(time_zone)s) AS first
        FROM analytics.continuity_event
        WHERE action IN ('went_on', 'rewound') AND verdict <> 'restarted' AND lost IS DISTINCT FROM 0
          AND (stream = %(stream)s OR stream <> ALL (%(streams)s))
    ) AS finding
    WHERE first <= %(last)s AND last >= %(first)s
)
SELECT facts.*, days.*, contact_types.*, losses.*
FROM facts, days, contact_types, losses
