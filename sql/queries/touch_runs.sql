-- A sign of life of those executions that still have their runs. Locks the runs' rows.
UPDATE analytics.run SET seen_at = now()
FROM unnest(%(ids)s::bigint[], %(attempts)s::integer[]) AS alive (id, attempt)
WHERE run.id = alive.id AND run.attempt = alive.attempt AND run.state = 'running'
