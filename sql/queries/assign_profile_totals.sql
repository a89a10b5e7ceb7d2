-- Assign the totals of some specialists' profiles, where they are others; say how many were written, and how many were looked
-- at: a row that the site holds is passed over, so that neither waits for the other. Wants lock_profile_totals before it in
-- the same transaction.
--
-- Locks: rows of "SpecialistProfile" in "id" order, NO KEY UPDATE: counting, which refers to them, does not feel it.
WITH free AS MATERIALIZED (
    SELECT "id"
    FROM "SpecialistProfile"
    WHERE "id" = ANY (%(ids)s)
    ORDER BY "id" COLLATE "C"
    FOR NO KEY UPDATE SKIP LOCKED
),
assigned AS (
    UPDATE "SpecialistProfile" AS profile SET
        "profileViews" = coalesce(total.profile_views, 0),
        "contactViews" = coalesce(total.contact_views, 0)
    FROM free
    LEFT JOIN analytics.profile_totals(%(since)s, %(ids)s) AS total ON total.specialist_id = free."id"
    WHERE profile."id" = free."id"
      AND (profile."profileViews", profile."contactViews")
          IS DISTINCT FROM (coalesce(total.profile_views, 0), coalesce(total.contact_views, 0))
    RETURNING 1
)
SELECT (SELECT count(*) FROM assigned) AS written, (SELECT count(*) FROM free) AS free
