-- Add up all dates before `closed_before` anew, for every specialist. Wants lock_profile_totals before it in the same
-- transaction. Locks: the rows of closed_total, which nobody but refreshes of totals writes.
WITH noted AS (
    UPDATE analytics.closed_totals SET closed_before = %(closed_before)s
),
summed AS (
    SELECT "specialistId" AS specialist_id, sum("profileViews") AS profile_views, sum("contactViews") AS contact_views
    FROM "SpecialistAnalyticsDaily"
    WHERE "date" < %(closed_before)s
    GROUP BY "specialistId"
)
INSERT INTO analytics.closed_total AS closed (specialist_id, profile_views, contact_views)
SELECT specialist_id, coalesce(summed.profile_views, 0), coalesce(summed.contact_views, 0)
FROM summed
FULL JOIN analytics.closed_total AS stored USING (specialist_id)
WHERE (coalesce(summed.profile_views, 0), coalesce(summed.contact_views, 0))
    IS DISTINCT FROM (stored.profile_views, stored.contact_views)
ON CONFLICT (specialist_id) DO UPDATE SET
    profile_views = excluded.profile_views,
    contact_views = excluded.contact_views
