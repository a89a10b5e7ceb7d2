-- The clock of PostgreSQL, in seconds since 1970: not that of the transaction's beginning. Locks nothing.
SELECT extract(epoch FROM clock_timestamp())::double precision
