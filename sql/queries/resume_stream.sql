-- Let a halted stream go on; returns no row if it was not halted. With `waived_until`, entries up to that one pass,
-- however many are bad. Locks the position row.
WITH resumed AS (
    UPDATE analytics.stream_position SET
        halted_at = NULL,
        halted_because = NULL,
        window_entries = 0,
        window_bad = 0,
        waived_until = coalesce(%(waived_until)s, waived_until)
    WHERE stream = %(stream)s AND halted_at IS NOT NULL
    RETURNING stream, epoch, last_id, ordinal
)
INSERT INTO analytics.continuity_event (stream, verdict, action, stored, seen)
SELECT stream, %(verdict)s, 'resumed', jsonb_build_object('epoch', epoch, 'last_id', last_id, 'ordinal', ordinal),
       jsonb_build_object('waived_until', %(waived_until)s::text, 'operator', %(operator)s::text)
FROM resumed
RETURNING id
