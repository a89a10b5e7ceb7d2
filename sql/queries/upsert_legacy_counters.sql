-- Note what legacy counters say: of each the greatest number ever seen. What is noted already is not written.
-- Locks: the rows that change, in the order of their key.
INSERT INTO analytics.legacy_counter AS noted (date, specialist_id, type, spelling, source, value)
SELECT date, specialist_id, type, spelling, source, value
FROM unnest(
    %(date)s::date[], %(specialist_id)s::text[], %(type)s::analytics.event_type[], %(spelling)s::text[],
    %(source)s::analytics.event_source[], %(value)s::integer[]
) AS seen (date, specialist_id, type, spelling, source, value)
ORDER BY date, specialist_id, type, spelling
ON CONFLICT (date, specialist_id, type, spelling) DO UPDATE SET value = excluded.value
WHERE excluded.value > noted.value
