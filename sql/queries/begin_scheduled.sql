-- Note that a line of the schedule was begun. Locks its row.
INSERT INTO analytics.scheduled (name, begun_at) VALUES (%(name)s, %(begun_at)s)
ON CONFLICT (name) DO UPDATE SET begun_at = excluded.begun_at
