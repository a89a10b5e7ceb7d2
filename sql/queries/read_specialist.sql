-- Everything that a reading is made of, of one specialist: one statement, and so one moment and one round trip. Always one
-- row; lists are arrays, of which those of one name belong together. Locks nothing.
WITH daily AS MATERIALIZED (
    SELECT "date", "profileViews", "contactViews", "consultationRequests", "orders", "reviews", "sources"
    FROM "SpecialistAnalyticsDaily"
    WHERE "specialistId" = %(specialist)s AND "date" BETWEEN %(first_before)s AND %(last)s
),
ledger AS MATERIALIZED (
    SELECT (SELECT max(day) + 1 FROM analytics.sealed_day) AS behind_sealed,
           -- The first name in the index of names: to look at each partition takes a fifth of the whole statement.
           (SELECT to_date(relname, '"event_"YYYYMMDD')
            FROM pg_class
            WHERE relname >= 'event_0' AND relname < 'event_a' AND relnamespace = 'analytics'::regnamespace
              AND relispartition
            ORDER BY relname LIMIT 1) AS oldest
),
facts AS (
    SELECT EXISTS (SELECT FROM "SpecialistProfile" WHERE "id" = %(specialist)s) AS known,
           (SELECT min("date") FROM "SpecialistAnalyticsDaily"
            WHERE "specialistId" = %(specialist)s AND "date" >= %(first_before)s) AS first_day,
           -- Views come from the baseline and from the ledger and from nowhere else: these began when the counting did.
           least((SELECT min(date) FROM analytics.baseline), (SELECT min(day) FROM analytics.sealed_day), oldest)
               AS counting_since,
           -- The first date whose events are all in the ledger: the one behind what is sealed may have begun on the day
           -- before, by its own midnight, and then a part of it is sealed too.
           CASE
               WHEN behind_sealed IS NULL THEN oldest
               WHEN analytics.first_utc_day(behind_sealed, %(time_zone)s) < behind_sealed THEN behind_sealed + 1
               ELSE behind_sealed
           END AS ledger_since,
           analytics.complete_through() AS complete_through,
           (SELECT split_part(last_id, '-', 1)::bigint FROM analytics.stream_position WHERE stream = %(stream)s)
               AS last_read_ms
    FROM ledger
),
days AS (
    SELECT array_agg("date") AS dates,
           array_agg("profileViews") AS profile_views,
           array_agg("contactViews") AS contact_views,
           array_agg("consultationRequests") AS requests,
           array_agg("orders") AS orders,
           array_agg("reviews") AS reviews
    FROM daily
),
sources AS (
    SELECT coalesce(sum("profileViews"), 0)::bigint AS all_sources,
           coalesce(sum(greatest(analytics.source_views("sources", 'catalog'), 0)), 0)::bigint AS catalog,
           coalesce(sum(greatest(analytics.source_views("sources", 'search'), 0)), 0)::bigint AS search,
           coalesce(sum(greatest(analytics.source_views("sources", 'direct'), 0)), 0)::bigint AS direct,
           coalesce(sum(greatest(analytics.source_views("sources", 'other'), 0)), 0)::bigint AS other
    FROM daily
    WHERE "date" >= %(first)s
),
visitors AS (
    SELECT array_agg(date) AS visitor_dates,
           array_agg(visitors) AS visitor_numbers,
           array_agg(sketch) AS visitor_sketches
    FROM analytics.daily_visitors
    WHERE specialist_id = %(specialist)s AND date BETWEEN %(first_before)s AND %(last)s AND visitors > 0
),
-- Which events are a date's is said as in analytics.views; the index event_contact_idx finds them.
contact_types AS (
    SELECT array_agg(contact_type) AS contact_types, array_agg(views) AS contact_type_views
    FROM (
        SELECT contact_type, count(*) AS views
        FROM analytics.event
        WHERE specialist_id = %(specialist)s AND type = 'contact_view' AND excluded IS NULL
          AND day BETWEEN analytics.first_utc_day(%(first)s, %(time_zone)s)
                      AND analytics.last_utc_day(%(last)s, %(time_zone)s)
          AND analytics.local_date(occurred_at, %(time_zone)s) BETWEEN %(first)s AND %(last)s
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
SELECT * FROM facts, days, sources, visitors, contact_types, losses
