-- Take away a packed month of some specialists, before it is packed anew. Locks the rows, which only whoever packs writes.
DELETE FROM analytics.packed_month WHERE month = %(month)s AND specialist_id = ANY (%(specialists)s)
