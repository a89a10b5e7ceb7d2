-- Which of these bad entries of a stream are dead letters already, by their places in the lists (from 0). Locks nothing.
SELECT number - 1
FROM unnest(%(entry_ids)s::text[], %(fields)s::jsonb[]) WITH ORDINALITY AS asked (entry_id, fields, number)
WHERE EXISTS (
    SELECT FROM analytics.dead_letter AS letter
    WHERE letter.stream = %(stream)s AND letter.entry_id = asked.entry_id
      AND md5(letter.fields::text) = md5(asked.fields::text)
)
