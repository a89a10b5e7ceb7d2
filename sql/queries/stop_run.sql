-- Ask for a run's end between two of its steps; one that waits for its turn is between two steps. Returns its state, or no row
-- if it is not open. Locks its row.
UPDATE analytics.run SET
    stopped_by = coalesce(stopped_by, %(operator)s),
    ended_at = CASE WHEN state = 'queued' THEN now() END,
    state = CASE WHEN state = 'queued' THEN 'stopped' ELSE state END
WHERE id = %(id)s AND state IN ('queued', 'running')
RETURNING state::text
