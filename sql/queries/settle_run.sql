-- End an execution of a run, and the run itself unless it is queued again. Returns its state, or no row if another execution
-- has it by now. Locks its row.
UPDATE analytics.run SET
    state = CASE WHEN %(state)s = 'queued' AND stopped_by IS NOT NULL THEN 'stopped' ELSE %(state)s::analytics.run_state END,
    ended_at = CASE WHEN %(state)s <> 'queued' OR stopped_by IS NOT NULL THEN now() END,
    error = %(error)s,
    seen_at = now()
WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'running'
RETURNING state::text
