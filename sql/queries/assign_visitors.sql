-- Assign the visitors of some specialists and one date. Wants lock_visitors before it in the same transaction.
-- Locks: the rows of daily_visitors, which nobody but refreshes writes.
INSERT INTO analytics.daily_visitors (date, specialist_id, visitors, events, time_zone, sketch)
SELECT %(date)s, specialist_id, visitors, events, %(time_zone)s, sketch
FROM unnest(%(specialist_ids)s::text[], %(visitors)s::integer[], %(events)s::integer[], %(sketches)s::bytea[])
    AS counted (specialist_id, visitors, events, sketch)
ON CONFLICT (date, specialist_id) DO UPDATE SET
    visitors = excluded.visitors,
    events = excluded.events,
    time_zone = excluded.time_zone,
    sketch = excluded.sketch
