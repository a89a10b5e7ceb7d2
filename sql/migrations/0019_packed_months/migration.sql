-- Months that are packed: a year of a specialist is 24 rows to read instead of 1,460, each on a page of its own.
-- Locks: "SpecialistAnalyticsDaily" and daily_visitors (SHARE ROW EXCLUSIVE) for a moment, for their triggers.

-- What a specialist's days of a month are made of, in one row: a copy of the daily rows, of daily_visitors, and of the
-- ledger's contact views by type. It only holds days that are over; what changes there later is noted below.
CREATE TABLE analytics.packed_month (
    specialist_id text      NOT NULL,
    month         date      NOT NULL,  -- its first day
    through       date      NOT NULL,  -- the last day that is packed here, whether or not there is anything of it
    dates         date[]    NOT NULL,  -- that have a daily row
    numbers       integer[] NOT NULL,  -- nine of each of these: profile views, contact views, requests, orders, reviews, and
                                       -- profile views by source: catalog, search, direct, other
    visitor_dates date[]    NOT NULL,  -- with a known visitor; these three belong together
    visitors      integer[] NOT NULL,
    sketches      bytea[]   NOT NULL,
    contact_dates date[]    NOT NULL,  -- with a contact view in the ledger; these three belong together
    contact_types text[]    NOT NULL,
    typed_views   integer[] NOT NULL,
    PRIMARY KEY (specialist_id, month),
    CONSTRAINT each_date_has_its_numbers CHECK (
        cardinality(numbers) = 9 * cardinality(dates)
        AND cardinality(visitors) = cardinality(visitor_dates) AND cardinality(sketches) = cardinality(visitor_dates)
        AND cardinality(contact_types) = cardinality(contact_dates)
        AND cardinality(typed_views) = cardinality(contact_dates)
    )
-- A row has two or three kilobytes: as long as it fits into a page it is not taken apart.
) WITH (toast_tuple_target = 8160, fillfactor = 90);

-- How far: of every specialist, each month up to `through` is in packed_month, or has no row because there is nothing.
-- To begin anew: UPDATE analytics.packing SET through = NULL, packing_through = NULL, after_specialist = ''.
CREATE TABLE analytics.packing (
    one_row          boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (one_row),
    time_zone        text,                     -- whose midnight divides the days of the contact views
    through          date,                     -- NULL: nothing is packed
    packing_through  date,                     -- what is being packed now, month by month; NULL: nothing is
    after_specialist text NOT NULL DEFAULT ''  -- up to here it is done
) WITH (fillfactor = 50);
INSERT INTO analytics.packing DEFAULT VALUES;

-- Months whose days were written after they were over. Whoever reads takes the days themselves until the month is packed
-- anew. A change is noted in its own transaction, so it can be seen if and only if the note can; and notes are only ever
-- added, so who packs takes away those alone that he has seen the changes of.
CREATE TABLE analytics.changed_month (
    specialist_id text NOT NULL,
    month         date NOT NULL
);
CREATE INDEX changed_month_idx ON analytics.changed_month (specialist_id, month);

-- As whoever migrated: the site's role may know nothing of this schema.
CREATE FUNCTION analytics.note_changed_days() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $note_changed_days$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO analytics.changed_month VALUES (NEW."specialistId", date_trunc('month', NEW."date"));
    END IF;
    IF TG_OP = 'DELETE' OR TG_OP = 'UPDATE' AND (OLD."specialistId", OLD."date") <> (NEW."specialistId", NEW."date") THEN
        INSERT INTO analytics.changed_month VALUES (OLD."specialistId", date_trunc('month', OLD."date"));
    END IF;
    RETURN NULL;
END
$note_changed_days$;
REVOKE EXECUTE ON FUNCTION analytics.note_changed_days() FROM PUBLIC;

CREATE FUNCTION analytics.note_changed_visitors() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $note_changed_visitors$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO analytics.changed_month VALUES (NEW.specialist_id, date_trunc('month', NEW.date));
    END IF;
    IF TG_OP = 'DELETE' OR TG_OP = 'UPDATE' AND (OLD.specialist_id, OLD.date) <> (NEW.specialist_id, NEW.date) THEN
        INSERT INTO analytics.changed_month VALUES (OLD.specialist_id, date_trunc('month', OLD.date));
    END IF;
    RETURN NULL;
END
$note_changed_visitors$;
REVOKE EXECUTE ON FUNCTION analytics.note_changed_visitors() FROM PUBLIC;

-- Who truncates has locked the tables that whoever packs or erases names before: neither can wait for the other.
CREATE FUNCTION analytics.forget_packed_months() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $forget_packed_months$
BEGIN
    UPDATE analytics.packing SET through = NULL, packing_through = NULL, after_specialist = '';
    RETURN NULL;
END
$forget_packed_months$;
REVOKE EXECUTE ON FUNCTION analytics.forget_packed_months() FROM PUBLIC;

-- Have the days watched: make the triggers where any is missing, and then nothing counts as packed, for nobody knows what was
-- written meanwhile. Every `migrate` ends with this too, since the daily table may have been made anew.
--
-- What is packed ends three days before the UTC date of the packing; what is written without a note is of the day before
-- CURRENT_DATE, or newer. CURRENT_DATE is that of the writer's zone and of the beginning of his transaction, which may
-- take twelve hours at the least until what it writes could be missed.
CREATE FUNCTION analytics.watch_days() RETURNS void
    LANGUAGE plpgsql AS $watch$
DECLARE
    days regclass;
    note text;
BEGIN
    FOR days, note IN
        VALUES ('"SpecialistAnalyticsDaily"'::regclass, 'note_changed_days'),
               ('analytics.daily_visitors'::regclass, 'note_changed_visitors')
    LOOP
        CONTINUE WHEN analytics.is_watched(days);
        EXECUTE format('CREATE OR REPLACE TRIGGER note_changed_insert AFTER INSERT ON %s FOR EACH ROW
                        WHEN (NEW."date" < CURRENT_DATE - 1) EXECUTE FUNCTION analytics.%I()', days, note);
        EXECUTE format('CREATE OR REPLACE TRIGGER note_changed_update AFTER UPDATE ON %s FOR EACH ROW
                        WHEN (OLD."date" < CURRENT_DATE - 1 OR NEW."date" < CURRENT_DATE - 1)
                        EXECUTE FUNCTION analytics.%I()', days, note);
        EXECUTE format('CREATE OR REPLACE TRIGGER note_changed_delete AFTER DELETE ON %s FOR EACH ROW
                        WHEN (OLD."date" < CURRENT_DATE - 1) EXECUTE FUNCTION analytics.%I()', days, note);
        EXECUTE format('CREATE OR REPLACE TRIGGER forget_packed_months AFTER TRUNCATE ON %s FOR EACH STATEMENT
                        EXECUTE FUNCTION analytics.forget_packed_months()', days);
        UPDATE analytics.packing SET through = NULL, packing_through = NULL, after_specialist = '';
    END LOOP;
END
$watch$;

-- Whether a table has all four triggers, and none is switched off.
CREATE FUNCTION analytics.is_watched(days regclass) RETURNS boolean
    LANGUAGE sql STABLE AS $is_watched$
    SELECT count(*) = 4
    FROM pg_trigger
    WHERE tgrelid = days AND tgenabled <> 'D'
      AND tgname IN ('note_changed_insert', 'note_changed_update', 'note_changed_delete', 'forget_packed_months')
$is_watched$;

SELECT analytics.watch_days();

-- Contact views of a specialist by date and type. Which events are a date's is said as in analytics.views; the index
-- event_contact_idx finds them. In PL/pgSQL, so that the dates are known before it is looked which partitions they are of:
-- to open them all takes longer than all else.
CREATE FUNCTION analytics.contact_types(of_specialist text, first date, last date, time_zone text)
    RETURNS TABLE (date date, contact_type text, views integer)
    LANGUAGE plpgsql STABLE ROWS 30 AS $contact_types$
BEGIN
    RETURN QUERY
    SELECT analytics.local_date(event.occurred_at, time_zone), event.contact_type, count(*)::integer
    FROM analytics.event
    WHERE event.specialist_id = of_specialist AND event.type = 'contact_view' AND event.excluded IS NULL
      AND event.day BETWEEN analytics.first_utc_day(first, time_zone) AND analytics.last_utc_day(last, time_zone)
      AND analytics.local_date(event.occurred_at, time_zone) BETWEEN first AND last
    GROUP BY 1, 2
    ORDER BY 1, 2;
END
$contact_types$;

-- Some days of a specialist as a row of packed_month, or none if there is nothing: what is packed, and what a reading makes
-- of the days that are not. So both say the same. OFFSET 0: found by the index, whatever else is asked for with it.
CREATE FUNCTION analytics.pack_days(of_specialist text, first date, last date, zone text)
    RETURNS SETOF analytics.packed_month
    LANGUAGE sql STABLE ROWS 1 AS $pack_days$
    SELECT of_specialist, date_trunc('month', first)::date, last,
           coalesce(dates, '{}'), coalesce(numbers, '{}'),
           coalesce(visitor_dates, '{}'), coalesce(visitors, '{}'), coalesce(sketches, '{}'),
           coalesce(contact_dates, '{}'), coalesce(contact_types, '{}'), coalesce(typed_views, '{}')
    FROM (
        SELECT array_agg("date") AS dates,
               array_agg(ARRAY["profileViews", "contactViews", "consultationRequests", "orders", "reviews",
                               greatest(analytics.source_views("sources", 'catalog'), 0),
                               greatest(analytics.source_views("sources", 'search'), 0),
                               greatest(analytics.source_views("sources", 'direct'), 0),
                               greatest(analytics.source_views("sources", 'other'), 0)]) AS numbers
        FROM (
            SELECT *
            FROM "SpecialistAnalyticsDaily"
            WHERE "specialistId" = of_specialist AND "date" BETWEEN first AND last
            ORDER BY "specialistId", "date" OFFSET 0
        ) AS day
    ) AS daily,
    (
        SELECT array_agg(date) AS visitor_dates, array_agg(day.visitors) AS visitors, array_agg(sketch) AS sketches
        FROM (
            SELECT *
            FROM analytics.daily_visitors
            WHERE specialist_id = of_specialist AND date BETWEEN first AND last AND daily_visitors.visitors > 0
            ORDER BY specialist_id, date OFFSET 0
        ) AS day
    ) AS visitors,
    (
        SELECT array_agg(date) AS contact_dates, array_agg(contact_type) AS contact_types, array_agg(views) AS typed_views
        FROM analytics.contact_types(of_specialist, first, last, zone)
    ) AS contacts
    WHERE dates IS NOT NULL OR visitor_dates IS NOT NULL OR contact_dates IS NOT NULL
$pack_days$;

-- As before, but for what is packed: that is a copy, which goes by a statement of its own.
CREATE OR REPLACE FUNCTION analytics.tables_of_specialists() RETURNS TABLE (relation regclass, has_date boolean)
    LANGUAGE sql STABLE AS $tables_of_specialists$
    SELECT pg_class.oid::regclass, bool_or(attname = 'date' AND atttypid = 'date'::regtype)
    FROM pg_class
    JOIN pg_attribute ON attrelid = pg_class.oid AND NOT attisdropped
    WHERE relnamespace = 'analytics'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
      AND relname NOT IN ('event', 'packed_month', 'changed_month')
    GROUP BY pg_class.oid
    HAVING bool_or(attname = 'specialist_id')
    ORDER BY pg_class.relname
$tables_of_specialists$;

CREATE AGGREGATE analytics.concat(anycompatiblearray) (SFUNC = array_cat, STYPE = anycompatiblearray);

-- As before, but quick where no day is missing: then they need not be put in order.
CREATE OR REPLACE FUNCTION analytics.complete_through() RETURNS date
    LANGUAGE sql STABLE PARALLEL SAFE AS $complete_through$
    SELECT CASE
        WHEN count(*) = max(date) - min(date) + 1 THEN max(date)
        ELSE (
            SELECT max(date)
            FROM (SELECT date, min(date) OVER () + (row_number() OVER (ORDER BY date))::integer - 1 AS without_a_gap
                  FROM analytics.closed_day) AS closed
            WHERE date = without_a_gap
        )
    END
    FROM analytics.closed_day
$complete_through$;
