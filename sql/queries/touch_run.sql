-- A sign of life. Locks the run's row.
UPDATE analytics.run SET seen_at = now()
WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'running'
