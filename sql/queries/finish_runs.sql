-- End executions that came to the end of their runs in one step. Passes over runs that another execution has by now. Locks their
-- rows.
UPDATE analytics.run SET
    state = 'done',
    done = %(total)s,
    total = %(total)s,
    result = finished.result,
    deaths = 0,
    error = NULL,
    ended_at = now(),
    seen_at = now()
FROM unnest(%(ids)s::bigint[], %(attempts)s::integer[], %(results)s::json[]) AS finished (id, attempt, result)
WHERE run.id = finished.id AND run.attempt = finished.attempt AND run.state = 'running'
