-- The UTC days that have a ledger partition. Locks nothing.
SELECT to_date(substring(child.relname FROM '^event_(\d{8})$'), 'YYYYMMDD') AS day
FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent = 'analytics.event'::regclass AND child.relname ~ '^event_\d{8}$'
