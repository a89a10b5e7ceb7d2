-- Note how a line of the schedule ended. Locks its row.
INSERT INTO analytics.scheduled AS scheduled (name, begun_at, tick, started_at, ended_at, result, error)
VALUES (%(name)s, %(started_at)s, %(tick)s, %(started_at)s, %(ended_at)s, %(result)s, %(error)s)
ON CONFLICT (name) DO UPDATE SET
    tick = excluded.tick,
    started_at = excluded.started_at,
    ended_at = excluded.ended_at,
    result = excluded.result,
    error = excluded.error
