-- Let dead letters have these fields from now on, and write down that they lost some. Each stays the letter of its entry: by
-- what its fields were when it was buried. Locks their rows, and the run's row of erasure.
WITH kept AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(fields)s::jsonb[]) AS kept (id, fields)
),
erased AS (
    UPDATE analytics.dead_letter AS letter
    SET fields = kept.fields, buried_md5 = coalesce(buried_md5, md5(letter.fields::text))
    FROM kept
    WHERE letter.id = kept.id
    RETURNING letter.id
),
noted AS (
    INSERT INTO analytics.dead_letter_action (dead_letter_id, action, operator)
    SELECT erased.id, 'erased', operator
    FROM erased, analytics.run
    WHERE run.id = %(run)s
)
INSERT INTO analytics.erasure AS erasure (run, what, rows)
SELECT %(run)s, %(what)s, count(*) FROM erased
ON CONFLICT (run, what) DO UPDATE SET rows = erasure.rows + excluded.rows
