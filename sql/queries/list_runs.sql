-- The newest runs: one, or the open ones, or all, or all but those of a kind. Locks nothing.
SELECT id, kind, arguments, operator, state::text, attempt, created_at, started_at, ended_at, done, total, cursor, result,
       stopped_by, error,
       extract(epoch FROM now() - seen_at)::float8 AS silent_s,
       extract(epoch FROM coalesce(ended_at, now()) - started_at)::float8 AS took_s
FROM analytics.run
WHERE (%(id)s::bigint IS NULL OR id = %(id)s)
  AND (NOT %(only_open)s OR state IN ('queued', 'running'))
  AND (%(but_kind)s::text IS NULL OR kind <> %(but_kind)s)
ORDER BY id DESC
LIMIT %(limit)s
