-- Put something random for a visitor's hash in one UTC day of the ledger, and write down in how many events. It is the same
-- within a specialist and date, so that a day has as many visitors as before, and another everywhere else, so that nothing
-- links them any more. It is made of a salt that lives as long as the run: a date can have a part in two days of the ledger.
-- No index helps, so the whole day is read: about a tenth of a second a million events.
--
-- Locks: the events that change, which nobody else writes, and the run's row of erasure.
WITH forgotten AS (
    UPDATE analytics.event
    SET visitor = md5(concat_ws(' ', %(salt)s::text, analytics.local_date(occurred_at, %(time_zone)s), specialist_id))::uuid
    WHERE day = %(day)s AND visitor = %(visitor)s::uuid
    RETURNING 1
)
INSERT INTO analytics.erasure AS erasure (run, what, rows)
SELECT %(run)s, 'event', count(*) FROM forgotten
ON CONFLICT (run, what) DO UPDATE SET rows = erasure.rows + excluded.rows
