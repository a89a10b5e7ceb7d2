-- Who the visitor of each dead letter was, as it was sent; those without any are left out. A page of letters by their ids.
-- Locks nothing.
SELECT id, jsonb_path_query_array(fields, 'strict $[*] ? (@[0] == "visitorId")[1]') AS visitors
FROM analytics.dead_letter
WHERE id > %(after)s AND id <= %(until)s AND fields @> '[["visitorId"]]'
