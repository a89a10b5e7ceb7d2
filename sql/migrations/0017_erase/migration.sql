-- Erasing: what was kept of a visitor or about a specialist goes, and how much it was is written down.
-- Locks: dead_letter (ACCESS EXCLUSIVE) while its index is made anew, about a second a million letters; run for a moment.

-- How much a run has erased. Written by the statement that erases, so it is exact however often a step is done again.
CREATE TABLE analytics.erasure (
    run  bigint NOT NULL REFERENCES analytics.run,
    what text   NOT NULL,
    rows bigint NOT NULL,
    PRIMARY KEY (run, what)
);

-- A letter that lost fields stays the letter of its entry, also when that is read again: else it would come back whole.
ALTER TABLE analytics.dead_letter ADD COLUMN buried_md5 text;  -- of the fields as they were buried; NULL: they still are
DROP INDEX analytics.dead_letter_entry_key;
CREATE UNIQUE INDEX dead_letter_entry_key
    ON analytics.dead_letter (stream, entry_id, coalesce(buried_md5, md5(fields::text)));

-- Whom an erasure was about must not be learned from its record. So whatever ends such a run, done, failed or stopped, and
-- whoever says so: what it was asked for goes, and what it needed to go on.
CREATE FUNCTION analytics.forget_whom() RETURNS trigger
    LANGUAGE plpgsql AS $forget_whom$
DECLARE
    argument text;
BEGIN
    FOR argument IN SELECT value #>> '{}' FROM jsonb_each(NEW.arguments) WHERE jsonb_typeof(value) = 'string' LOOP
        NEW.error := replace(NEW.error, argument, 'erased');
    END LOOP;
    NEW.arguments := '{"whom": "erased"}';
    NEW.cursor := '{}';
    RETURN NEW;
END
$forget_whom$;
CREATE TRIGGER forget_whom BEFORE UPDATE ON analytics.run
    FOR EACH ROW WHEN (NEW.kind IN ('erase-visitor', 'erase-specialist') AND NEW.state IN ('done', 'failed', 'stopped'))
    EXECUTE FUNCTION analytics.forget_whom();

-- Every table of ours that says something about specialists, but for the ledger: a table of a later migration is among them by
-- having a column specialist_id, and is cleared by dates if it has a column date.
CREATE FUNCTION analytics.tables_of_specialists() RETURNS TABLE (relation regclass, has_date boolean)
    LANGUAGE sql STABLE AS $tables_of_specialists$
    SELECT pg_class.oid::regclass, bool_or(attname = 'date' AND atttypid = 'date'::regtype)
    FROM pg_class
    JOIN pg_attribute ON attrelid = pg_class.oid AND NOT attisdropped
    WHERE relnamespace = 'analytics'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'event'
    GROUP BY pg_class.oid
    HAVING bool_or(attname = 'specialist_id')
    ORDER BY pg_class.relname
$tables_of_specialists$;

-- The dates that any table of ours and the daily table have rows of, and those that the ledger may have.
CREATE FUNCTION analytics.kept_dates(OUT first_date date, OUT last_date date)
    LANGUAGE plpgsql STABLE AS $kept_dates$
DECLARE
    kept regclass;
    earliest date;
    latest date;
BEGIN
    SELECT min(to_date(right(relname, 8), 'YYYYMMDD')) - 1, max(to_date(right(relname, 8), 'YYYYMMDD')) + 1
    INTO first_date, last_date
    FROM pg_inherits
    JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'analytics.event'::regclass AND relname ~ '^event_\d{8}$';
    FOR kept IN
        SELECT '"SpecialistAnalyticsDaily"'::regclass
        UNION ALL
        SELECT relation FROM analytics.tables_of_specialists() WHERE has_date
    LOOP
        EXECUTE format('SELECT min("date"), max("date") FROM %s', kept) INTO earliest, latest;
        first_date := least(first_date, earliest);
        last_date := greatest(last_date, latest);
    END LOOP;
END
$kept_dates$;

-- Delete what is kept about a specialist on some dates, or, without dates, in the tables that have none; or only count it.
-- One row a table. Wants lock_positions before it in the same transaction if it deletes: rows and the events that they count
-- go together. Ledger first, daily rows last, as the live path does.
CREATE FUNCTION analytics.erase_specialist(whom text, of_dates date[], time_zone text, only_count boolean)
    RETURNS TABLE (what text, rows bigint)
    LANGUAGE plpgsql AS $erase_specialist$
DECLARE
    verb CONSTANT text := CASE WHEN only_count THEN 'SELECT FROM %s WHERE %s' ELSE 'DELETE FROM %s WHERE %s' END;
    first_day CONSTANT date := (SELECT min(analytics.first_utc_day(of_date, time_zone)) FROM unnest(of_dates) AS of_date);
    last_day CONSTANT date := (SELECT max(analytics.last_utc_day(of_date, time_zone)) FROM unnest(of_dates) AS of_date);
    relation regclass;
BEGIN
    IF of_dates IS NULL THEN
        FOR relation IN SELECT kept.relation FROM analytics.tables_of_specialists() AS kept WHERE NOT has_date LOOP
            EXECUTE format(verb, relation, 'specialist_id = $1') USING whom;
            GET DIAGNOSTICS rows = ROW_COUNT;
            what := (SELECT relname FROM pg_class WHERE oid = relation);
            RETURN NEXT;
        END LOOP;
        RETURN;
    END IF;

    EXECUTE format(verb, 'analytics.event', 'specialist_id = $1 AND analytics.local_date(occurred_at, $3) = ANY ($2)
                                             AND day BETWEEN $4 AND $5')
    USING whom, of_dates, time_zone, first_day, last_day;
    GET DIAGNOSTICS rows = ROW_COUNT;
    what := 'event';
    RETURN NEXT;
    FOR relation IN SELECT kept.relation FROM analytics.tables_of_specialists() AS kept WHERE has_date LOOP
        EXECUTE format(verb, relation, 'specialist_id = $1 AND "date" = ANY ($2)') USING whom, of_dates;
        GET DIAGNOSTICS rows = ROW_COUNT;
        what := (SELECT relname FROM pg_class WHERE oid = relation);
        RETURN NEXT;
    END LOOP;
    EXECUTE format(verb, '"SpecialistAnalyticsDaily"', '"specialistId" = $1 AND "date" = ANY ($2)') USING whom, of_dates;
    GET DIAGNOSTICS rows = ROW_COUNT;
    what := 'SpecialistAnalyticsDaily';
    RETURN NEXT;
END
$erase_specialist$;
