-- One micro-batch, from the position to the daily rows, in one statement and so in one transaction.
--
-- The compare of the compare-and-set comes first: it locks the position row if that is still where the batch was read
-- from. If somebody else was faster it finds nothing, then nothing below happens and no row is returned.
-- Being one message to the server, it needs nothing more from a client that freezes or dies after sending it.
--
-- Locks: the position row; new ledger keys in event_id order; daily rows in ("specialistId", date) order.
WITH position_held AS MATERIALIZED (
    SELECT FROM analytics.stream_position
    WHERE stream = %(stream)s AND epoch = %(epoch)s AND last_id = %(read_after)s
      AND ordinal IS NOT DISTINCT FROM %(read_after_ordinal)s
    FOR UPDATE
),
ledgered AS (
    INSERT INTO analytics.event
        (day, event_id, occurred_at, type, source, excluded, specialist_id, contact_type, visitor, entry_id, stream)
    SELECT (occurred_at AT TIME ZONE 'UTC')::date AS day,
           event_id, occurred_at, type, source, excluded, specialist_id, contact_type, visitor, entry_id, %(shard)s
    FROM (
        SELECT timestamptz 'epoch' + occurred_ms * interval '1 millisecond' AS occurred_at, batch.*
        FROM unnest(
            %(event_id)s::uuid[], %(occurred_ms)s::bigint[], %(specialist_id)s::text[],
            %(type)s::analytics.event_type[], %(source)s::analytics.event_source[], %(contact_type)s::text[],
            %(visitor)s::uuid[], %(excluded)s::analytics.exclusion[], %(entry_id)s::text[]
        ) WITH ORDINALITY
            AS batch (event_id, occurred_ms, specialist_id, type, source, contact_type, visitor, excluded, entry_id, number)
        WHERE EXISTS (SELECT FROM position_held)
    ) AS event
    ORDER BY event_id, day, number  -- of two events with one id the earlier entry counts
    ON CONFLICT DO NOTHING
    RETURNING specialist_id, occurred_at, type, source, excluded
),
increments AS (
    SELECT specialist_id,
           analytics.local_date(occurred_at, %(time_zone)s) AS date,
           count(*) FILTER (WHERE type = 'profile_view')::integer AS profile_views,
           count(*) FILTER (WHERE type = 'contact_view')::integer AS contact_views,
           count(*) FILTER (WHERE type = 'profile_view' AND source = 'catalog')::integer AS catalog,
           count(*) FILTER (WHERE type = 'profile_view' AND source = 'search')::integer AS search,
           count(*) FILTER (WHERE type = 'profile_view' AND source = 'direct')::integer AS direct,
           count(*) FILTER (WHERE type = 'profile_view' AND source = 'other')::integer AS other
    FROM ledgered
    WHERE excluded IS NULL
    GROUP BY 1, 2
),
rolled_up AS (
    INSERT INTO "SpecialistAnalyticsDaily" AS daily
        ("id", "specialistId", "date", "profileViews", "contactViews", "sources",
         "conversionRateProfileToContact", "updatedAt")
    SELECT gen_random_uuid()::text, specialist_id, date, profile_views, contact_views,
           analytics.sources(catalog, search, direct, other),
           analytics.conversion_rate(contact_views, profile_views), now() AT TIME ZONE 'UTC'
    FROM increments
    ORDER BY specialist_id COLLATE "C", date  -- one order in every database, and no sort of all events for the grouping
    ON CONFLICT ("specialistId", "date") DO UPDATE SET
        "profileViews" = daily."profileViews" + excluded."profileViews",
        "contactViews" = daily."contactViews" + excluded."contactViews",
        "sources" = analytics.add_sources(daily."sources", excluded."sources"),
        "conversionRateProfileToContact" = analytics.conversion_rate(
            daily."contactViews" + excluded."contactViews", daily."profileViews" + excluded."profileViews"),
        "conversionRateContactToRequest" = analytics.conversion_rate(
            daily."consultationRequests", daily."contactViews" + excluded."contactViews"),
        "updatedAt" = excluded."updatedAt"
),
buried AS (
    INSERT INTO analytics.dead_letter (stream, entry_id, reason, fields)
    SELECT %(origin)s, entry_id, reason, fields
    FROM unnest(%(dead_entry_id)s::text[], %(dead_reason)s::text[], %(dead_fields)s::jsonb[])
        AS dead (entry_id, reason, fields)
    WHERE EXISTS (SELECT FROM position_held)
    ON CONFLICT DO NOTHING
    RETURNING 1
),
books AS (
    SELECT count(*) FILTER (WHERE excluded IS NULL) AS counted,
           count(*) FILTER (WHERE excluded IS NOT NULL) AS excluded,
           (SELECT count(*) FROM buried) AS dead_lettered
    FROM ledgered
)
UPDATE analytics.stream_position AS position SET
    last_id = %(last_id)s,
    ordinal = %(ordinal)s,
    entries_read = position.entries_read + %(entries)s,
    counted = position.counted + books.counted,
    excluded = position.excluded + books.excluded,
    dead_lettered = position.dead_lettered + books.dead_lettered,
    duplicates = position.duplicates + %(entries)s - books.counted - books.excluded - books.dead_lettered,
    window_entries = %(window_entries)s,
    window_bad = %(window_bad)s,
    committed_at = now()
FROM books
WHERE position.stream = %(stream)s AND EXISTS (SELECT FROM position_held)
RETURNING books.counted, %(entries)s - books.counted - books.excluded - books.dead_lettered AS duplicates,
          books.excluded, books.dead_lettered
