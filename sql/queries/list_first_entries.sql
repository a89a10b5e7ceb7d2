-- The entries that brought events into the ledger, by the events' UTC days and ids. Locks nothing.
SELECT event_id::text, day, entry_id, stream AS shard
FROM analytics.event
JOIN unnest(%(days)s::date[], %(event_ids)s::uuid[]) AS wanted (day, event_id) USING (day, event_id)
