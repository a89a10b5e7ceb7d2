-- An event in the ledger, by its UTC day and id. Locks nothing.
SELECT specialist_id, excluded::text, entry_id
FROM analytics.event
WHERE day = %(day)s AND event_id = %(event_id)s
