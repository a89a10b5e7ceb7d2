-- Delete the packed months of a specialist, and the notes which ones changed. If there are days all the same, all their
-- months are noted: so they are read from their tables, and packed anew. Wants await_packing before it in the same
-- transaction, and the days erased before. Locks the rows that go.
WITH notes AS (
    DELETE FROM analytics.changed_month WHERE specialist_id = %(specialist)s
),
packed AS (
    DELETE FROM analytics.packed_month WHERE specialist_id = %(specialist)s
)
INSERT INTO analytics.changed_month (specialist_id, month)
SELECT %(specialist)s, date_trunc('month', "date")
FROM "SpecialistAnalyticsDaily"
WHERE "specialistId" = %(specialist)s
UNION
SELECT %(specialist)s, date_trunc('month', date)
FROM analytics.daily_visitors
WHERE specialist_id = %(specialist)s
