-- Of the dead letters that name a specialist, the newest: what tells on which date each would count. Requests, which would not,
-- are left out. No index helps, so every dead letter is looked at: about a second a million of them. Locks nothing.
SELECT entry_id, reason, state, occurred_at, count(*) OVER () AS matching
FROM (
    SELECT id, entry_id, reason, state,
           (SELECT left(pair ->> 1, 65)  -- longer than any that is accepted
            FROM jsonb_array_elements(fields) WITH ORDINALITY AS field (pair, number)
            WHERE pair ->> 0 = 'occurredAt'
            ORDER BY number DESC
            LIMIT 1) AS occurred_at
    FROM analytics.dead_letter
    WHERE fields @> %(field)s AND stream <> %(requests)s
) AS letter
ORDER BY id DESC
LIMIT %(limit)s
