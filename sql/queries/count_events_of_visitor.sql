-- How many events of one UTC day in the ledger are a visitor's. Reads the whole day. Locks nothing.
SELECT count(*) FROM analytics.event WHERE day = %(day)s AND visitor = %(visitor)s::uuid
