-- Take on one message that is to be sent, so that nobody else sends it meanwhile: the start of an alert, then its end.
-- Whoever takes it on and dies leaves it to the others after `lease_s`. Locks the row of the alert, passing over locked ones.
UPDATE analytics.alert SET retry_at = now() + %(lease_s)s * interval '1 second'
WHERE id = (
    SELECT id
    FROM analytics.alert
    WHERE end_sent_at IS NULL AND (start_sent_at IS NULL OR ended_at IS NOT NULL) AND retry_at <= now()
    ORDER BY id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING id, name, start_sent_at IS NULL AS is_start, started_at, ended_at, text, value, threshold
