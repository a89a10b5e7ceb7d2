-- Put something random for a visitor's hash in one UTC day of the ledger, and write down in how many events. It is the same
-- within a specialist and date, so that a day has as many visitors as before, and another everywhere else, so that nothing
-- links them any more. It is made of a salt that lives as long as the run: a date can have a part in two days of the ledger.
-- No index helps, so the whole day is read: about a tenth of a second a million events.
--
-- The sketches of the dates that it changes still have bits of the old hash: they are marked to be made anew, but for dates of
-- which a day is sealed, that nobody can count again.
--
-- Locks: the events that change, which nobody else writes; rows of daily_visitors and refreshed_up_to; the run's row of erasure.
WITH forgotten AS (
    UPDATE analytics.event
    SET visitor = md5(concat_ws(' ', %(salt)s::text, analytics.local_date(occurred_at, %(time_zone)s), specialist_id))::uuid
    WHERE day = %(day)s AND visitor = %(visitor)s::uuid
    RETURNING specialist_id, analytics.local_date(occurred_at, %(time_zone)s) AS date
),
to_be_counted_again AS (
    UPDATE analytics.daily_visitors AS stored SET events = 0
    FROM (SELECT DISTINCT specialist_id, date FROM forgotten) AS touched
    WHERE stored.date = touched.date AND stored.specialist_id = touched.specialist_id
      AND NOT EXISTS (
          SELECT FROM analytics.sealed_day WHERE day >= analytics.first_utc_day(touched.date, %(time_zone)s)
      )
    RETURNING 1
),
looked_at AS (
    UPDATE analytics.refreshed_up_to SET counted = -1 WHERE what = 'visitors' AND EXISTS (SELECT FROM to_be_counted_again)
)
INSERT INTO analytics.erasure AS erasure (run, what, rows)
SELECT %(run)s, 'event', count(*) FROM forgotten
ON CONFLICT (run, what) DO UPDATE SET rows = erasure.rows + excluded.rows
