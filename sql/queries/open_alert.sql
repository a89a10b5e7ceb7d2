-- Begin an alert, unless somebody else just did: then no row is returned. Locks the new row only.
INSERT INTO analytics.alert (name, started_at, last_seen_at, text, value, threshold, start_sent_at)
VALUES (%(name)s, now() - %(held_s)s * interval '1 second', now(), %(text)s, %(value)s, %(threshold)s,
        CASE WHEN %(told)s THEN now() END)
ON CONFLICT (name) WHERE ended_at IS NULL DO NOTHING
RETURNING id
