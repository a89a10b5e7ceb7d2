-- Queue a run again whose execution is lost, so that whoever still has it has it no more. It is not queued, but ends, if a stop
-- was asked for, or if one execution after the other has died at the same step. Returns its state and the number that its next
-- execution has to know, or no row if somebody else was faster, or it has shown a sign of life. Locks its row.
WITH lost AS (
    SELECT id,
           CASE
               WHEN stopped_by IS NOT NULL THEN 'stopped'
               WHEN state = 'running' AND deaths + 1 >= %(most_deaths)s THEN 'failed'
               ELSE 'queued'
           END::analytics.run_state AS next
    FROM analytics.run
    WHERE id = %(id)s AND attempt = %(attempt)s
      AND (state = 'running' AND seen_at < now() - make_interval(secs => %(silent_s)s)
           OR state = 'queued' AND seen_at < now() - make_interval(secs => %(unqueued_s)s))
    FOR UPDATE
)
UPDATE analytics.run AS run SET
    attempt = attempt + 1,
    deaths = deaths + (state = 'running')::integer,
    state = next,
    ended_at = CASE WHEN next <> 'queued' THEN now() END,
    error = CASE WHEN next = 'failed' THEN %(error)s END,
    seen_at = now()
FROM lost
WHERE run.id = lost.id
RETURNING state::text, attempt
