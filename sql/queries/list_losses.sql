-- What was found wrong with the streams (and not what their breakers did) within so many seconds, the newest first.
-- Locks nothing.
SELECT stream, verdict, lost, extract(epoch FROM now() - happened_at)::double precision AS s_ago
FROM analytics.continuity_event
WHERE action IN ('went_on', 'rewound') AND happened_at > now() - %(recent_s)s * interval '1 second'
ORDER BY id DESC
