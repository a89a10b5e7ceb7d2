-- Move the position because of what was found about the stream (entries lost, or the stream went back), and write down
-- why. Compare-and-set: nothing happens, and no row is returned, if the position is not what the verdict was about.
-- Locks the position row.
WITH moved AS (
    UPDATE analytics.stream_position SET
        epoch = %(epoch)s,
        last_id = %(last_id)s,
        ordinal = %(ordinal)s,
        lost = lost + coalesce(%(lost)s, 0)
    WHERE stream = %(stream)s AND epoch = %(stored_epoch)s AND last_id = %(stored_last_id)s
      AND ordinal IS NOT DISTINCT FROM %(stored_ordinal)s
    RETURNING stream
)
INSERT INTO analytics.continuity_event (stream, verdict, action, lost, stored, seen)
SELECT stream, %(verdict)s, %(action)s, %(lost)s, %(stored)s::jsonb, %(seen)s::jsonb
FROM moved
RETURNING id
