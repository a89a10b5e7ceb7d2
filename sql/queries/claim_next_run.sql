-- Take on the oldest queued run of a kind, as claim_run does. Returns no row if none waits. Locks its row; passes over those
-- that somebody else takes on at this moment.
UPDATE analytics.run SET
    state = 'running',
    attempt = attempt + 1,
    started_at = coalesce(started_at, now()),
    seen_at = now()
WHERE id = (
    SELECT id FROM analytics.run
    WHERE kind = %(kind)s AND state = 'queued'
    ORDER BY id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING id, attempt
