-- The buried dead letters of these entries of a stream, each by what the fields were when they were buried: another entry
-- may have had the same id before, and a letter may have lost fields since. Locks nothing.
SELECT id, buried_at::timestamptz(3) AS buried_at, stream, letter.entry_id, reason, letter.fields, state, 0 AS left
FROM unnest(%(entry_ids)s::text[], %(fields)s::jsonb[]) AS asked (entry_id, fields)
JOIN analytics.dead_letter AS letter
    ON letter.stream = %(stream)s AND letter.entry_id = asked.entry_id
    AND coalesce(letter.buried_md5, md5(letter.fields::text)) = md5(asked.fields::text)
WHERE state = 'buried'
ORDER BY id
