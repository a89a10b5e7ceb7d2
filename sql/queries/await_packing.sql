-- Let nobody pack until the end of this transaction: who began earlier may be about to add rows of what is erased here.
-- Locks: the row of packing, which only those want who pack, erase or truncate; a step of packing has it for
-- less than a second where the days are in memory. Who truncates has locked a table before, so the tables are named, as in lock_packing.
WITH named AS (
    SELECT FROM "SpecialistProfile", "SpecialistAnalyticsDaily", analytics.daily_visitors
)
SELECT FROM analytics.packing FOR UPDATE
