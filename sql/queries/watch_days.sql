-- Have the days watched for changes, if they are not: the daily table may have been made anew. Locks, only then: the table
-- (SHARE ROW EXCLUSIVE) and the row of packing, until the migrations are committed.
DO $watch$
BEGIN
    IF to_regprocedure('analytics.watch_days()') IS NOT NULL THEN  -- as soon as the migration that makes it is applied
        PERFORM analytics.watch_days();
    END IF;
END
$watch$
