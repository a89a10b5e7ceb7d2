-- Take on the oldest queued run of a kind, as claim_run does, and with it the next ones whose arguments differ from its own in one
-- name only. Returns no row if none waits. Locks their rows; passes over those that somebody else takes on at this moment.
WITH waiting AS MATERIALIZED (  -- by the index of the open runs: the way by number leads through all that are over
    SELECT id, arguments - %(differ_in)s::text AS same FROM analytics.run WHERE kind = %(kind)s AND state = 'queued'
),
claimed AS MATERIALIZED (
    SELECT id FROM analytics.run
    WHERE state = 'queued' AND id IN (
        SELECT id FROM waiting WHERE same = (SELECT same FROM waiting ORDER BY id LIMIT 1) ORDER BY id LIMIT %(limit)s
    )
    FOR UPDATE SKIP LOCKED
)
UPDATE analytics.run SET
    state = 'running',
    attempt = attempt + 1,
    started_at = coalesce(started_at, now()),
    seen_at = now()
WHERE id IN (SELECT id FROM claimed)
RETURNING id, attempt, arguments
