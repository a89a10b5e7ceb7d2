-- How far it is packed, and the first date behind that of which anything can be kept; nothing if somebody else packs just
-- now.
--
-- Locks: the row of packing, which only those want who pack, erase or truncate. Who truncates has locked a table before, so
-- this statement names the tables, those first that he locks first: it waits for him, or he for us, before anybody has what
-- the other one wants.
WITH named AS (
    SELECT FROM "SpecialistProfile", "SpecialistAnalyticsDaily", analytics.daily_visitors
)
SELECT analytics.is_watched('"SpecialistAnalyticsDaily"') AND analytics.is_watched('analytics.daily_visitors') AS watched,
       time_zone, through, packing_through, after_specialist,
       (now() AT TIME ZONE 'UTC')::date - 3 AS newest,
       least(
           (SELECT min("date") FROM "SpecialistAnalyticsDaily" WHERE "date" > coalesce(through, '-infinity')),
           (SELECT min(date) FROM analytics.daily_visitors WHERE date > coalesce(through, '-infinity')),
           greatest(through + 1, (
               SELECT to_date(min(relname), '"event_"YYYYMMDD') - 1
               FROM pg_inherits
               JOIN pg_class ON pg_class.oid = inhrelid
               WHERE inhparent = 'analytics.event'::regclass AND relname ~ '^event_\d{8}$'
           ))
       ) AS first_kept
FROM analytics.packing
FOR UPDATE SKIP LOCKED
