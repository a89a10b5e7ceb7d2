-- Outcomes: requests, orders and reviews of each specialist and date, counted from the view analytics.outcome, which
-- sql/queries/create_outcome_view.sql makes at the end of every `migrate`. Locks nothing that was there before.

-- When the open days (today and yesterday) were last refreshed. One row: who refreshes any day locks it first, so that of
-- two the later one has the newer counts.
CREATE TABLE analytics.outcome_refresh (
    one_row        boolean     NOT NULL PRIMARY KEY DEFAULT true CHECK (one_row),
    refreshed_at   timestamptz NOT NULL DEFAULT now(),  -- of a schema where it never happened: since when it could have
    missing_tables text[]      NOT NULL DEFAULT '{}'    -- the site's tables that were last warned about
) WITH (fillfactor = 50);
INSERT INTO analytics.outcome_refresh DEFAULT VALUES;

-- Of the view as it is. The empty path writes every name with its schema, whoever asks.
CREATE FUNCTION analytics.outcome_view_checksum() RETURNS text
    LANGUAGE sql STABLE SET search_path = '' AS $outcome_view_checksum$
    SELECT md5(pg_get_viewdef(to_regclass('analytics.outcome')))
$outcome_view_checksum$;

-- Whether analytics.outcome is as migrate made it, which left the checksum in a comment.
CREATE FUNCTION analytics.outcome_view_is_ours() RETURNS boolean
    LANGUAGE sql STABLE AS $outcome_view_is_ours$
    SELECT coalesce(right(obj_description(to_regclass('analytics.outcome'), 'pg_class'), 32)
                    = analytics.outcome_view_checksum(), false)
$outcome_view_is_ours$;

-- The site's tables that analytics.outcome does not read, though it would if they were there: their outcomes count as 0.
-- Of a view that somebody made otherwise nothing is missed.
CREATE FUNCTION analytics.missing_outcome_tables() RETURNS text[]
    LANGUAGE sql STABLE AS $missing_outcome_tables$
    SELECT coalesce(array_agg(name ORDER BY name), '{}')
    FROM unnest(ARRAY['ConsultationRequest', 'Order', 'Review']) AS name
    WHERE analytics.outcome_view_is_ours() AND NOT EXISTS (
        SELECT FROM pg_depend
        JOIN pg_rewrite ON pg_rewrite.oid = pg_depend.objid
        JOIN pg_class ON pg_class.oid = pg_depend.refobjid
        WHERE pg_depend.classid = 'pg_rewrite'::regclass AND pg_depend.refclassid = 'pg_class'::regclass
          AND pg_rewrite.ev_class = to_regclass('analytics.outcome') AND pg_class.relname = name
    )
$missing_outcome_tables$;

-- The outcomes of a date. As with views, local_date alone decides which they are; the UTC days are there for an index on
-- the time, which only compared as it is stored can be used. It may be a timestamp in UTC, as Prisma stores it, or one with
-- time zone: with this function's own TimeZone PostgreSQL compares both with a moment, rightly and by an index.
-- A text that is not looked into now, so that the view may be made later, dropped, and made otherwise.
SET LOCAL check_function_bodies = off;
CREATE FUNCTION analytics.outcomes(of_date date, time_zone text)
    RETURNS TABLE (specialist_id text, consultation_requests integer, orders integer, reviews integer)
    LANGUAGE sql STABLE SET "TimeZone" = 'UTC' SET jit = off AS $outcomes$
    SELECT specialist_id,
           (count(*) FILTER (WHERE kind = 'consultation_request'))::integer,
           (count(*) FILTER (WHERE kind = 'order'))::integer,
           (count(*) FILTER (WHERE kind = 'review'))::integer
    FROM analytics.outcome
    WHERE occurred_at >= analytics.first_utc_day(of_date, time_zone)::timestamptz
      AND occurred_at < (analytics.last_utc_day(of_date, time_zone) + 1)::timestamptz
      AND analytics.local_date(occurred_at, time_zone) = of_date
    GROUP BY specialist_id
$outcomes$;
SET LOCAL check_function_bodies = on;
