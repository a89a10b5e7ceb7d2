-- Take on the requests behind a position: all become runs, join the open run that does the same, or are buried, and the
-- position moves, in one statement and so in one transaction. If somebody else was faster, nothing happens and no row is
-- returned.
--
-- Locks: the position row; its new rows. Waits for whoever begins the same run in this very moment.
WITH position_held AS MATERIALIZED (
    SELECT FROM analytics.request_position
    WHERE stream = %(stream)s AND last_id = %(stored)s
    FOR UPDATE
),
begun AS (
    INSERT INTO analytics.run (kind, arguments, operator)
    SELECT %(kind)s, arguments, %(operator)s
    FROM unnest(%(arguments)s::jsonb[]) WITH ORDINALITY AS asked (arguments, number)
    WHERE EXISTS (SELECT FROM position_held)
      AND NOT EXISTS (  -- the index would do; but then each that is open already would use up a number of a run
          SELECT FROM analytics.run
          WHERE kind = %(kind)s AND md5(run.arguments::text) = md5(asked.arguments::text)
            AND state IN ('queued', 'running')
      )
    ORDER BY number
    ON CONFLICT (kind, md5(arguments::text)) WHERE state IN ('queued', 'running') DO NOTHING
    RETURNING id
),
buried AS (
    INSERT INTO analytics.dead_letter (stream, entry_id, reason, fields)
    SELECT %(stream)s, entry_id, reason, fields
    FROM unnest(%(dead_entry_id)s::text[], %(dead_reason)s::text[], %(dead_fields)s::jsonb[])
        AS dead (entry_id, reason, fields)
    WHERE EXISTS (SELECT FROM position_held)
    ON CONFLICT DO NOTHING
    RETURNING 1
),
taken AS (
    SELECT coalesce((SELECT array_agg(id ORDER BY id) FROM begun), '{}') AS runs,
           (SELECT count(*) FROM buried) AS dead_lettered
)
UPDATE analytics.request_position AS position SET
    last_id = %(last_id)s,
    requests = position.requests + %(entries)s,
    runs = position.runs + cardinality(taken.runs),
    dead_lettered = position.dead_lettered + taken.dead_lettered,
    taken_at = now()
FROM taken
WHERE position.stream = %(stream)s AND EXISTS (SELECT FROM position_held)
RETURNING taken.runs
