-- Take away the notes that a month of some specialists changed. Wants to be the first of the statements that pack it: those
-- after it see at least all that this one has seen the notes of. Locks the notes, which nobody but whoever packs takes away.
DELETE FROM analytics.changed_month WHERE month = %(month)s AND specialist_id = ANY (%(specialists)s)
