-- Pack a month of some specialists through a date. Wants delete_change_notes and then delete_packed_months before it in the
-- same transaction. Locks the new rows only.
INSERT INTO analytics.packed_month
SELECT packed.*
FROM unnest(%(specialists)s::text[]) AS specialist,
     analytics.pack_days(specialist, %(month)s, %(through)s, %(time_zone)s) AS packed
