-- Who has legacy counters and is no specialist, the most viewed first; and how many they are in all. Locks nothing.
SELECT specialist_id, sum(value)::bigint AS views, count(*) OVER () AS number
FROM analytics.legacy_counter AS noted
WHERE date BETWEEN coalesce(%(first)s::date, '-infinity') AND coalesce(%(last)s::date, 'infinity')
  AND NOT EXISTS (SELECT FROM "SpecialistProfile" AS specialist WHERE specialist."id" = noted.specialist_id)
GROUP BY specialist_id
ORDER BY views DESC, specialist_id
LIMIT %(most)s
