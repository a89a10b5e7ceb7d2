-- Hold a packed month of some specialists, both picked by chance, against the days that it is made of. Where it is not what
-- it should be, note that it changed: then readings take the days themselves, and it is packed anew. Contact views by type
-- are left out where a part of the month is sealed: then their events are gone. Returns the months that were wrong. Locks
-- the new notes only.
WITH picked AS MATERIALIZED (
    SELECT month, least((month + interval '1 month - 1 day')::date, through) AS through
    FROM (
        SELECT date_trunc('month', oldest + (random() * (through - oldest))::integer)::date AS month, through
        FROM analytics.packing, (SELECT min("date") AS oldest FROM "SpecialistAnalyticsDaily") AS daily
        WHERE time_zone = %(time_zone)s AND oldest <= through
    ) AS any_month
),
gone AS MATERIALIZED (
    SELECT CASE
               WHEN month <= (SELECT max(day) + 1 FROM analytics.sealed_day)
               THEN '{contact_dates,contact_types,typed_views}'::text[]
               ELSE '{}'
           END AS columns
    FROM picked
)
INSERT INTO analytics.changed_month (specialist_id, month)
SELECT specialist.id, picked.month
FROM picked
CROSS JOIN gone
CROSS JOIN (SELECT "id" AS id FROM "SpecialistProfile" ORDER BY random() LIMIT %(limit)s) AS specialist
LEFT JOIN analytics.packed_month AS packed ON packed.specialist_id = specialist.id AND packed.month = picked.month
LEFT JOIN LATERAL analytics.pack_days(
    specialist.id, picked.month, greatest(packed.through, picked.through), %(time_zone)s
) AS days ON true
WHERE to_jsonb(packed) - gone.columns IS DISTINCT FROM to_jsonb(days) - gone.columns
  AND NOT EXISTS (
      SELECT FROM analytics.changed_month AS note WHERE note.specialist_id = specialist.id AND note.month = picked.month
  )
RETURNING specialist_id, month
