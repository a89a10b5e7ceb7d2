-- How every line of the schedule ran last. Locks nothing.
SELECT name, begun_at, tick, started_at, ended_at, result, error,
       extract(epoch FROM now() - begun_at)::double precision AS begun_s_ago
FROM analytics.scheduled
ORDER BY name
