-- The runs that were going on at a moment and could have written the row of a specialist and date: those that are not about another
-- one, or about other dates. Locks nothing.
SELECT id, kind
FROM analytics.run
WHERE started_at::timestamptz(3) <= %(moment)s AND coalesce(ended_at, 'infinity')::timestamptz(3) >= %(moment)s
  AND kind <> 'erase-visitor'
  AND coalesce(arguments ->> 'specialist', %(specialist)s) = %(specialist)s
  AND (coalesce(arguments ->> 'first', '') !~ '^\d{4}-\d\d-\d\d$' OR arguments ->> 'first' <= %(date)s::date::text)
  AND (coalesce(arguments ->> 'last', '') !~ '^\d{4}-\d\d-\d\d$' OR arguments ->> 'last' >= %(date)s::date::text)
ORDER BY id
