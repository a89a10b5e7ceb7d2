-- Note that a message was delivered. Locks the row of the alert.
UPDATE analytics.alert SET
    start_sent_at = coalesce(start_sent_at, now()),
    end_sent_at = CASE WHEN %(is_start)s THEN end_sent_at ELSE now() END,
    retry_at = '-infinity'
WHERE id = %(id)s
