-- What the books of all streams together have counted by now, and what they had when this was last refreshed. No row but for
-- what is refreshed at all. Locks nothing.
SELECT (SELECT coalesce(sum(counted), 0)::bigint FROM analytics.stream_position) AS counted,
       refreshed_up_to.counted AS refreshed
FROM analytics.refreshed_up_to
WHERE what = %(what)s
