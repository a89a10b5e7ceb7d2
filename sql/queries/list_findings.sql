-- What was found wrong with the streams (and not what their breakers did): how often ever, and how often and with what
-- loss of late. Locks nothing.
SELECT verdict,
       count(*) AS findings,
       count(*) FILTER (WHERE recent) AS recent_findings,
       coalesce(sum(lost) FILTER (WHERE recent), 0)::bigint AS recent_lost
FROM (
    SELECT verdict, lost, happened_at > now() - %(recent_s)s * interval '1 second' AS recent
    FROM analytics.continuity_event
    WHERE action IN ('went_on', 'rewound')
) AS event
GROUP BY verdict
ORDER BY verdict
