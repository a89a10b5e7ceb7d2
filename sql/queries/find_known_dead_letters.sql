-- Which of these bad entries of a stream are dead letters already, by their places in the lists (from 0): by what the fields
-- were when they were buried, as commit_batch tells it. Locks nothing.
SELECT number - 1
FROM unnest(%(entry_ids)s::text[], %(fields)s::jsonb[]) WITH ORDINALITY AS asked (entry_id, fields, number)
WHERE EXISTS (
    SELECT FROM analytics.dead_letter AS letter
    WHERE letter.stream = %(stream)s AND letter.entry_id = asked.entry_id
      AND coalesce(letter.buried_md5, md5(letter.fields::text)) = md5(asked.fields::text)
)
