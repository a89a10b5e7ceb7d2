-- The books of these positions together. Locks nothing.
SELECT coalesce(sum(entries_read), 0)::bigint AS read, coalesce(sum(counted), 0)::bigint AS counted,
       coalesce(sum(duplicates), 0)::bigint AS repeats, coalesce(sum(excluded), 0)::bigint AS excluded,
       coalesce(sum(dead_lettered), 0)::bigint AS dead_letters
FROM analytics.stream_position
WHERE stream = ANY (%(streams)s::text[])
