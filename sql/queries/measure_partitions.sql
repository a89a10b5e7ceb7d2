-- How many bytes each UTC day of the ledger takes, with its index. Locks nothing (ACCESS SHARE, for a moment).
SELECT to_date(substring(child.relname FROM '^event_(\d{8})$'), 'YYYYMMDD') AS day,
       pg_total_relation_size(child.oid) AS bytes
FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent = 'analytics.event'::regclass AND child.relname ~ '^event_\d{8}$'
