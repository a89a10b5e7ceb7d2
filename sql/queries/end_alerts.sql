-- End those of the alerts that nobody has seen for a while; they ended when they were last seen. Locks their rows.
UPDATE analytics.alert SET ended_at = last_seen_at
WHERE name = ANY(%(names)s) AND ended_at IS NULL AND last_seen_at < now() - %(unseen_s)s * interval '1 second'
RETURNING name, text
