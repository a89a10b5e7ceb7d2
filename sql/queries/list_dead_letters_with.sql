-- Of a page of dead letters by their ids, those that have a field with this value. Locks nothing.
SELECT id FROM analytics.dead_letter WHERE id > %(after)s AND id <= %(until)s AND fields @> %(field)s
