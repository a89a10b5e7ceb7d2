-- Which of these entries of a stream have dead letters that are buried; another entry may have had the same id. Locks nothing.
SELECT DISTINCT entry_id
FROM analytics.dead_letter
WHERE stream = %(stream)s AND entry_id = ANY (%(entry_ids)s::text[]) AND state = 'buried'
