-- Sealing: the oldest day of the ledger becomes baseline, and its partition goes.
-- Locks: nothing but the functions' rows in the catalogue.

-- As before, but a day that was sealed, or lies before one that was, gets no partition again: its repeats could not be told
-- from new events and would count twice. The error is that of a missing partition, so a reader that did not know yet throws
-- its memory away and reads how far the ledger is sealed.
CREATE OR REPLACE FUNCTION analytics.create_partition(day date) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $create_partition$
DECLARE
    partition text := 'event_' || to_char(day, 'YYYYMMDD');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('analytics.create_partition'));
    IF EXISTS (SELECT FROM pg_inherits
               WHERE inhparent = 'analytics.event'::regclass AND inhrelid = to_regclass('analytics.' || partition)) THEN
        RETURN false;
    END IF;
    -- In this order: whoever sees that a partition was dropped then sees that its day was sealed.
    IF EXISTS (SELECT FROM analytics.sealed_day AS sealed WHERE sealed.day >= create_partition.day) THEN
        RAISE check_violation USING MESSAGE = format('the ledger is sealed up to a day that is not before %s', day);
    END IF;
    EXECUTE format('CREATE TABLE IF NOT EXISTS analytics.%I (LIKE analytics.event INCLUDING DEFAULTS INCLUDING INDEXES,
                    CONSTRAINT its_day CHECK (day IS NOT NULL AND day = %L::date))', partition, day);
    EXECUTE format('ALTER TABLE analytics.event ATTACH PARTITION analytics.%I FOR VALUES FROM (%L) TO (%L)',
                   partition, day, day + 1);
    EXECUTE format('ALTER TABLE analytics.%I DROP CONSTRAINT IF EXISTS its_day', partition);
    RETURN true;
END
$create_partition$;

-- Fold the oldest day of the ledger into the baseline and drop its partition, if the day is past the retention; the day, or
-- NULL if there is nothing to do or somebody else is at it. Always the oldest, so that one date says how far all is sealed.
-- A day is left over between the oldest that is accepted and the newest that is sealed: for clocks that differ, and for
-- batches on their way. How old a day must be is worked out here, so that no caller can have a younger one dropped.
--
-- The sum is made while only writers of that very partition have to wait, and there should be none. Then, for the moment of
-- the drop, batches and recomputes wait, and readers of the ledger; and none of them for longer than lock_timeout, because
-- a reader who is not done by then (a dump) makes this give up, to be tried again later. Positions come before the ledger,
-- as everywhere.
CREATE FUNCTION analytics.seal_oldest_day(ledger_days integer, time_zone text) RETURNS date
    LANGUAGE plpgsql STRICT SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '1s' SET work_mem = '64MB' SET jit = off
    AS $seal_oldest_day$
DECLARE
    oldest date;
    partition text;
BEGIN
    IF ledger_days < 1 OR NOT pg_try_advisory_xact_lock(hashtext('analytics.seal_oldest_day')) THEN
        RETURN NULL;  -- 0 keeps all
    END IF;
    SELECT to_date(substring(relname FROM '^event_(\d{8})$'), 'YYYYMMDD'), relname INTO oldest, partition
    FROM pg_inherits
    JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'analytics.event'::regclass AND relname ~ '^event_\d{8}$'
    ORDER BY relname
    LIMIT 1;
    IF oldest IS NULL OR oldest >= (now() AT TIME ZONE 'UTC')::date - ledger_days THEN
        RETURN NULL;
    END IF;

    EXECUTE format('LOCK TABLE analytics.%I IN SHARE ROW EXCLUSIVE MODE', partition);
    INSERT INTO analytics.sealed_day (day, time_zone) VALUES (oldest, seal_oldest_day.time_zone);
    EXECUTE format($fold$
        INSERT INTO analytics.baseline AS baseline
            (date, specialist_id, origin, profile_views, contact_views, catalog, search, direct, other)
        SELECT analytics.local_date(occurred_at, %L), specialist_id, 'sealed',
               count(*) FILTER (WHERE type = 'profile_view'),
               count(*) FILTER (WHERE type = 'contact_view'),
               count(*) FILTER (WHERE type = 'profile_view' AND source = 'catalog'),
               count(*) FILTER (WHERE type = 'profile_view' AND source = 'search'),
               count(*) FILTER (WHERE type = 'profile_view' AND source = 'direct'),
               count(*) FILTER (WHERE type = 'profile_view' AND source = 'other')
        FROM analytics.%I
        WHERE excluded IS NULL
        GROUP BY 1, 2
        ON CONFLICT (date, specialist_id, origin) DO UPDATE SET
            profile_views = baseline.profile_views + excluded.profile_views,
            contact_views = baseline.contact_views + excluded.contact_views,
            catalog = baseline.catalog + excluded.catalog,
            search = baseline.search + excluded.search,
            direct = baseline.direct + excluded.direct,
            other = baseline.other + excluded.other
        $fold$, time_zone, partition);
    LOCK TABLE analytics.stream_position IN SHARE ROW EXCLUSIVE MODE;
    EXECUTE format('DROP TABLE analytics.%I', partition);
    RETURN oldest;
END
$seal_oldest_day$;
REVOKE EXECUTE ON FUNCTION analytics.seal_oldest_day(integer, text) FROM PUBLIC;
