-- Note that an alert still holds, and what it is like at its worst; no row if it has not begun. Locks its row.
UPDATE analytics.alert SET
    last_seen_at = now(),
    text = CASE WHEN %(value)s >= value THEN %(text)s ELSE text END,
    value = greatest(value, %(value)s)
WHERE name = %(name)s AND ended_at IS NULL
RETURNING id
