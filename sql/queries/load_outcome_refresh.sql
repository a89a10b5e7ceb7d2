-- When the outcomes of the open days were last counted, and which tables of the site are missing. Locks nothing.
SELECT refreshed_at::timestamptz(0) AS refreshed_at,
       greatest(0, extract(epoch FROM now() - refreshed_at))::double precision AS refreshed_s_ago,
       missing_tables
FROM analytics.outcome_refresh
