-- Note that a stream is halted before what follows its position, because most of that is bad. Does nothing if that is
-- noted already, if the position has moved, or if a person has let the entries pass meanwhile. Locks the position row.
WITH halted AS (
    UPDATE analytics.stream_position SET
        halted_at = now(),
        halted_because = %(because)s
    WHERE stream = %(stream)s AND epoch = %(epoch)s AND last_id = %(last_id)s AND ordinal IS NOT DISTINCT FROM %(ordinal)s
      AND waived_until = %(waived_until)s AND halted_at IS NULL
    RETURNING stream, epoch, last_id, ordinal
)
INSERT INTO analytics.continuity_event (stream, verdict, action, stored, seen)
SELECT stream, 'mostly_bad', 'halted', jsonb_build_object('epoch', epoch, 'last_id', last_id, 'ordinal', ordinal),
       jsonb_build_object('because', %(because)s::text)
FROM halted
