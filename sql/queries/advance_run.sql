-- Note a step of a run, and what it could not use. Returns whether somebody has asked for a stop, or no row if another execution
-- has the run by now. Locks its row.
WITH advanced AS (
    UPDATE analytics.run SET
        done = %(done)s,
        total = %(total)s,
        cursor = %(cursor)s,
        result = %(result)s,
        deaths = 0,
        error = NULL,
        seen_at = now()
    WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'running'
    RETURNING id, stopped_by
),
noted AS (
    INSERT INTO analytics.run_problem (run, reason, subject)
    SELECT id, reason, subject
    FROM advanced, unnest(%(reasons)s::text[], %(subjects)s::text[]) AS problem (reason, subject)
    ON CONFLICT DO NOTHING
)
SELECT stopped_by IS NOT NULL FROM advanced
