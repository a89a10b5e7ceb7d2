-- Before which date the profiles' totals are added up; NULL if they never were. Locks nothing.
SELECT closed_before FROM analytics.closed_totals
