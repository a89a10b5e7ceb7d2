-- Take on a queued run, with a number of its own for this execution: from now on no other one can write it. Returns no row if
-- somebody else has it, or it has ended. Locks its row.
UPDATE analytics.run SET
    state = 'running',
    attempt = attempt + 1,
    started_at = coalesce(started_at, now()),
    seen_at = now()
WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'queued'
RETURNING attempt
