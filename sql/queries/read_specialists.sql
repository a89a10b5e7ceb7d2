-- All that readings say of some specialists, each of its own period: a row for each, in the order in which they are asked
-- for. One statement, and so one moment and one round trip; to begin it takes longer than to read one's week. What is the
-- same for every specialist, `read_counting` says before; since when events are kept is true as long as `sealed_through` is
-- the same. Lists are arrays, of which those of one name belong together. There may be days among them that were not asked
-- for; they are in order, and no date is there twice. Locks nothing.
WITH packing AS MATERIALIZED (
    SELECT through FROM analytics.packing WHERE time_zone = %(time_zone)s AND through IS NOT NULL
),
sealed AS MATERIALIZED (
    SELECT max(day) AS sealed_through FROM analytics.sealed_day
)
SELECT answer.*
FROM unnest(
    %(specialists)s::text[], %(their_streams)s::text[], %(firsts_before)s::date[], %(firsts)s::date[], %(lasts)s::date[]
) WITH ORDINALITY AS asked (specialist, stream, first_before, first, last, number),
LATERAL (
    WITH changed AS MATERIALIZED (
        SELECT DISTINCT month FROM analytics.changed_month WHERE specialist_id = asked.specialist
    ),
    packed AS MATERIALIZED (
        SELECT *
        FROM analytics.packed_month
        WHERE specialist_id = asked.specialist
          AND month BETWEEN date_trunc('month', asked.first_before)::date AND asked.last
          AND month <= (SELECT through FROM packing)
          AND month NOT IN (SELECT month FROM changed)
    ),
    -- The days behind what is packed, which may be further for this specialist than for all, and the months that changed.
    open AS (
        SELECT greatest(asked.first_before, (SELECT through + 1 FROM packing), (SELECT max(through) + 1 FROM packed)) AS first,
               asked.last AS last
        UNION ALL
        SELECT greatest(asked.first_before, month), least(asked.last, through, (month + interval '1 month - 1 day')::date)
        FROM changed, packing
    ),
    months AS MATERIALIZED (
        SELECT * FROM packed
        UNION ALL
        SELECT days.*
        FROM open, analytics.pack_days(asked.specialist, open.first, open.last, %(time_zone)s) AS days
        WHERE open.first <= open.last
    ),
    facts AS MATERIALIZED (
        SELECT EXISTS (SELECT FROM "SpecialistProfile" WHERE "id" = asked.specialist) AS known,
               (SELECT min("date") FROM "SpecialistAnalyticsDaily"
                WHERE "specialistId" = asked.specialist AND "date" >= asked.first_before) AS first_day,
               (SELECT sealed_through FROM sealed) AS sealed_through,
               (SELECT split_part(last_id, '-', 1)::bigint FROM analytics.stream_position WHERE stream = asked.stream)
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
            WHERE date BETWEEN greatest(asked.first, %(ledger_since)s::date) AND asked.last
            GROUP BY contact_type
        ) AS counted
    ),
    -- What was lost came after the last entry that had been read, and before somebody noticed. Of a stream of another number
    -- of shards nobody can say that the specialist's events were not in it. A restart after which nothing is missing is no
    -- loss.
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
              AND (stream = asked.stream OR stream <> ALL (%(streams)s))
        ) AS finding
        WHERE first <= asked.last AND last >= asked.first
    )
    SELECT facts.*, days.*, contact_types.*, losses.*
    FROM facts, days, contact_types, losses
) AS answer
ORDER BY number
