-- Whether PostgreSQL knows a time zone by this name: it is an error if not. Locks nothing.
SELECT now() AT TIME ZONE %(time_zone)s
