-- Take a specialist's id out of the runs that are over: what they were asked, what came of them, why they failed, what they could
-- not use; and write down in how many. Locks their rows, and the run's row of erasure.
WITH problems AS (
    DELETE FROM analytics.run_problem WHERE subject ~ %(mention)s
    RETURNING run
),
mentioned AS (
    UPDATE analytics.run SET
        arguments = replace(arguments::text, to_jsonb(%(specialist)s::text)::text, '"erased"')::jsonb,
        result = replace(result::text, to_jsonb(%(specialist)s::text)::text, '"erased"')::jsonb,
        cursor = '{}',
        error = regexp_replace(error, %(mention)s, 'erased', 'g')
    WHERE ended_at IS NOT NULL AND concat_ws(' ', arguments, cursor, result, error) ~ %(mention)s
    RETURNING id
)
INSERT INTO analytics.erasure AS erasure (run, what, rows)
SELECT %(run)s, 'run', count(*) FROM (SELECT run FROM problems UNION SELECT id FROM mentioned) AS run
ON CONFLICT (run, what) DO UPDATE SET rows = erasure.rows + excluded.rows
