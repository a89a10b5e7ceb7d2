-- The lifetime totals in "SpecialistProfile", for a site that shows them: off, until ANALYTICS_PROFILE_TOTALS says otherwise.
-- Locks nothing that was there before.

-- Views of each specialist on all dates before closed_totals.closed_before: only the days since are added up each minute.
CREATE TABLE analytics.closed_total (
    specialist_id text   NOT NULL PRIMARY KEY,
    profile_views bigint NOT NULL,
    contact_views bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE analytics.closed_totals (
    one_row       boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (one_row),
    closed_before date                                     -- NULL: never added up yet
) WITH (fillfactor = 50);
INSERT INTO analytics.closed_totals DEFAULT VALUES;
INSERT INTO analytics.refreshed_up_to (what, counted) VALUES ('profile_totals', -1);

-- The totals of all dates: those closed, and the days since. `since` is closed_before, as a value that the planner sees. A text,
-- as analytics.views is, so that PostgreSQL inlines it and a change of the site's table is not refused because of it.
CREATE FUNCTION analytics.profile_totals(since date, ids text[] DEFAULT NULL)
    RETURNS TABLE (specialist_id text, profile_views integer, contact_views integer)
    LANGUAGE sql STABLE PARALLEL SAFE AS $profile_totals$
    SELECT specialist_id, least(sum(profile_views), 2147483647)::integer, least(sum(contact_views), 2147483647)::integer
    FROM (
        SELECT specialist_id, profile_views, contact_views
        FROM analytics.closed_total
        WHERE ids IS NULL OR specialist_id = ANY (ids)
        UNION ALL
        SELECT "specialistId", "profileViews", "contactViews"
        FROM "SpecialistAnalyticsDaily"
        WHERE "date" >= since AND (ids IS NULL OR "specialistId" = ANY (ids))
    ) AS part
    GROUP BY specialist_id
$profile_totals$;
