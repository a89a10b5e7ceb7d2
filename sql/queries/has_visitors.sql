-- Whether a UTC day of the ledger has anybody's hash. Locks nothing.
SELECT EXISTS (SELECT FROM analytics.event WHERE day = %(day)s AND visitor IS NOT NULL)
