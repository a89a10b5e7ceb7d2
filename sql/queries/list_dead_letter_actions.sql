-- What was done with a dead letter, in order. Locks nothing.
SELECT happened_at::timestamptz(0) AS happened_at, action, operator, stream, entry_id
FROM analytics.dead_letter_action
WHERE dead_letter_id = %(id)s
ORDER BY id
