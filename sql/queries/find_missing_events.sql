-- Which of these events the ledger does not have, by their places in the lists (from 0). Locks nothing.
-- Each is looked up by the primary key, however many they are: a join would read the whole ledger.
SELECT number - 1
FROM unnest(%(days)s::date[], %(event_ids)s::uuid[]) WITH ORDINALITY AS asked (day, event_id, number)
LEFT JOIN LATERAL (
    SELECT true AS known FROM analytics.event WHERE event.day = asked.day AND event.event_id = asked.event_id LIMIT 1
) AS ledgered ON true
WHERE known IS NULL
