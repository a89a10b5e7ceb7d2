-- The largest id of a dead letter, 0 if there is none. Locks nothing.
SELECT coalesce(max(id), 0) FROM analytics.dead_letter
