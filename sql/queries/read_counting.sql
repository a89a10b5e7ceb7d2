-- What is known of the counting itself, the same for every specialist: one row. Locks nothing.
SELECT -- Views come from the baseline and from the ledger and from nowhere else: these began when the counting did.
       least((SELECT min(date) FROM analytics.baseline), (SELECT min(day) FROM analytics.sealed_day), oldest)
           AS counting_since,
       -- The first date whose events are all in the ledger: the one behind what is sealed may have begun on the day
       -- before, by its own midnight, and then a part of it is sealed too.
       CASE
           WHEN behind_sealed IS NULL THEN oldest
           WHEN analytics.first_utc_day(behind_sealed, %(time_zone)s) < behind_sealed THEN behind_sealed + 1
           ELSE behind_sealed
       END AS ledger_since,
       analytics.complete_through() AS complete_through,
       sealed_through
FROM (
    SELECT sealed_through, sealed_through + 1 AS behind_sealed,
           -- The first name in the index of names, and no look at each partition.
           (SELECT to_date(relname, '"event_"YYYYMMDD')
            FROM pg_class
            WHERE relname >= 'event_0' AND relname < 'event_a' AND relnamespace = 'analytics'::regnamespace
              AND relispartition
            ORDER BY relname LIMIT 1) AS oldest
    FROM (SELECT max(day) AS sealed_through FROM analytics.sealed_day) AS sealed
) AS ledger
