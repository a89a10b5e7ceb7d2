-- Note that a day is closed, how many rows it has, and how many were put right; nothing if it was closed already.
-- Locks the new row only.
INSERT INTO analytics.closed_day (date, rows, differences, not_compared)
SELECT %(date)s::date,
       (SELECT count(*) FROM "SpecialistAnalyticsDaily" WHERE "date" = %(date)s),
       (SELECT count(*) FROM analytics.day_difference WHERE date = %(date)s),
       %(not_compared)s
ON CONFLICT (date) DO NOTHING
