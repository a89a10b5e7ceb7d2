-- The latest letters that lie buried of each of these reasons, the newest first. Of each the first fields, of these the
-- beginnings, and their lengths: a letter can have 1 MiB. Bytes that are no text are shown in base64. Locks nothing.
SELECT letter.id, letter.buried_at::timestamptz(3) AS buried_at, letter.stream, letter.entry_id, letter.reason,
       shown.fields, jsonb_array_length(letter.fields) AS fields_in_all
FROM unnest(%(reasons)s::text[]) AS wanted (reason)
CROSS JOIN LATERAL (
    SELECT *
    FROM analytics.dead_letter
    WHERE reason = wanted.reason AND state = 'buried'
    ORDER BY buried_at DESC -- and by nothing else: the index has no more, and thousands are buried at one moment
    LIMIT %(letters)s
) AS letter
CROSS JOIN LATERAL (
    SELECT coalesce(
        jsonb_agg(jsonb_build_array(left(name, %(characters)s), left(value, %(characters)s), length(value)) ORDER BY number), '[]'
    ) AS fields
    FROM jsonb_array_elements(letter.fields) WITH ORDINALITY AS field (pair, number),
    LATERAL (
        SELECT coalesce('base64:' || (pair -> 0 ->> 'base64'), pair ->> 0) AS name,
               coalesce('base64:' || (pair -> 1 ->> 'base64'), pair ->> 1) AS value
    ) AS readable
    WHERE number <= %(fields)s
) AS shown
ORDER BY letter.reason, letter.buried_at DESC, letter.id DESC
