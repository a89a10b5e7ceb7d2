-- Up to which day everything is counted, why the next day is not closed, and what was found wrong of late. One row, always.
-- Locks nothing.
SELECT analytics.complete_through() AS complete_through,
       (SELECT result ->> 'waits_for' FROM analytics.scheduled WHERE name = 'close') AS waits_for,
       count(*)::integer AS wrong_rows,
       coalesce(array_agg(DISTINCT date ORDER BY date), '{}') AS wrong_days,
       coalesce(sum(profile_views - coalesce(has_profile_views, 0)), 0)::integer AS profile_views,
       coalesce(sum(contact_views - coalesce(has_contact_views, 0)), 0)::integer AS contact_views,
       (SELECT not_compared FROM analytics.closed_day
        WHERE not_compared IS NOT NULL AND closed_at > now() - %(recent_s)s * interval '1 second'
        ORDER BY date DESC
        LIMIT 1) AS not_compared
FROM analytics.day_difference
WHERE found_at > now() - %(recent_s)s * interval '1 second'
