-- Note what legacy totals say: of each the greatest number ever seen. What is noted already is not written.
-- Locks: the rows that change, in the order of their key.
INSERT INTO analytics.legacy_total AS noted (specialist_id, type, spelling, value)
SELECT specialist_id, type, spelling, value
FROM unnest(%(specialist_id)s::text[], %(type)s::analytics.event_type[], %(spelling)s::text[], %(value)s::bigint[])
    AS seen (specialist_id, type, spelling, value)
ORDER BY specialist_id, type, spelling
ON CONFLICT (specialist_id, type, spelling) DO UPDATE SET value = excluded.value
WHERE excluded.value > noted.value
