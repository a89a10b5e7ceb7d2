-- Requests of the web tier: how far their stream has been read, the rows of some specialists, and the end of old refreshes.
-- Locks nothing that was there before.

-- How far the stream of requests has been read, and its books. Whoever takes requests on moves it first, by compare-and-set,
-- in the transaction that makes them runs.
CREATE TABLE analytics.request_position (
    stream        text        NOT NULL PRIMARY KEY,
    last_id       text        NOT NULL,                -- id of the last entry that was taken on
    requests      bigint      NOT NULL DEFAULT 0,      -- entries that were taken on: these, those below, and who joined an open run
    runs          bigint      NOT NULL DEFAULT 0,      -- that became runs
    dead_lettered bigint      NOT NULL DEFAULT 0,      -- that were none
    taken_at      timestamptz                          -- when the last one was taken on; NULL: never
) WITH (fillfactor = 50);

-- The outcomes of dates, of everybody or of some specialists. As with views, local_date alone decides which date they have; the
-- UTC days are there for an index on the time, which only compared as it is stored can be used. It may be a timestamp in UTC,
-- as Prisma stores it, or one with time zone: with this function's own TimeZone PostgreSQL compares both with a moment,
-- rightly and by an index. Each call is planned for what it asks, so that an index on the specialist is used, too.
-- A text that is not looked into now, so that the view may be made later, dropped, and made otherwise.
CREATE FUNCTION analytics.outcomes_between(first date, last date, time_zone text, of_specialists text[])
    RETURNS TABLE (date date, specialist_id text, consultation_requests integer, orders integer, reviews integer)
    LANGUAGE plpgsql STABLE SET "TimeZone" = 'UTC' SET jit = off SET plan_cache_mode = force_custom_plan AS $outcomes$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT analytics.local_date(occurred_at, time_zone), specialist_id,
           (count(*) FILTER (WHERE kind = 'consultation_request'))::integer,
           (count(*) FILTER (WHERE kind = 'order'))::integer,
           (count(*) FILTER (WHERE kind = 'review'))::integer
    FROM analytics.outcome
    WHERE occurred_at >= analytics.first_utc_day(first, time_zone)::timestamptz
      AND occurred_at < (analytics.last_utc_day(last, time_zone) + 1)::timestamptz
      AND analytics.local_date(occurred_at, time_zone) BETWEEN first AND last
      AND (of_specialists IS NULL OR specialist_id = ANY (of_specialists))
    GROUP BY 1, 2;
END
$outcomes$;

-- As before, out of the same text.
CREATE OR REPLACE FUNCTION analytics.outcomes(of_date date, time_zone text)
    RETURNS TABLE (specialist_id text, consultation_requests integer, orders integer, reviews integer)
    LANGUAGE sql STABLE AS $outcomes$
    SELECT specialist_id, consultation_requests, orders, reviews
    FROM analytics.outcomes_between(of_date, of_date, time_zone, NULL)
$outcomes$;

-- The daily rows whose outcomes, or the rates that follow from them, are not what they should be, and what they should be.
-- What vanished should be 0; a date without views gets its row; who is no specialist gets none.
CREATE FUNCTION analytics.wrong_outcomes(first date, last date, time_zone text, of_specialists text[])
    RETURNS TABLE (specialist_id text, date date, consultation_requests integer, orders integer, reviews integer)
    LANGUAGE sql STABLE AS $wrong_outcomes$
    SELECT specialist_id, date, requests, orders, reviews
    FROM (
        SELECT coalesce("specialistId", outcomes.specialist_id) AS specialist_id,
               coalesce(of_date, outcomes.date) AS date,
               "specialistId" IS NULL AS is_new,
               coalesce(outcomes.consultation_requests, 0) AS requests,
               coalesce(outcomes.orders, 0) AS orders,
               coalesce(outcomes.reviews, 0) AS reviews,
               contact_views, has_requests, has_orders, has_reviews, has_to_request, has_to_order
        FROM analytics.outcomes_between(first, last, time_zone, of_specialists) AS outcomes
        FULL JOIN (
            SELECT "specialistId", "date" AS of_date, "contactViews" AS contact_views,
                   "consultationRequests" AS has_requests, "orders" AS has_orders, "reviews" AS has_reviews,
                   "conversionRateContactToRequest" AS has_to_request, "conversionRateRequestToOrder" AS has_to_order
            FROM "SpecialistAnalyticsDaily"
            WHERE "date" BETWEEN first AND last AND (of_specialists IS NULL OR "specialistId" = ANY (of_specialists))
        ) AS daily ON "specialistId" = outcomes.specialist_id AND of_date = outcomes.date
    ) AS pair
    WHERE CASE
        WHEN is_new THEN
            (requests, orders, reviews) <> (0, 0, 0)  -- an outcome of another kind is none
            AND EXISTS (SELECT FROM "SpecialistProfile" AS specialist WHERE specialist."id" = specialist_id)
        ELSE
            (has_requests, has_orders, has_reviews) <> (requests, orders, reviews)
            OR has_to_request <> analytics.conversion_rate(requests, contact_views)
            OR has_to_order <> analytics.conversion_rate(orders, requests)
        END
$wrong_outcomes$;

-- The formula, for some dates: views of a specialist and date = baseline + ledger. As before, which date an event has local_date
-- alone decides, and the UTC days are there for the planner, which leaves out all other partitions.
CREATE FUNCTION analytics.views_between(first date, last date, time_zone text)
    RETURNS TABLE (specialist_id text, date date, profile_views integer, contact_views integer,
                   catalog integer, search integer, direct integer, other integer)
    LANGUAGE sql STABLE PARALLEL SAFE AS $views_between$
    SELECT specialist_id, date, sum(profile_views)::integer, sum(contact_views)::integer,
           sum(catalog)::integer, sum(search)::integer, sum(direct)::integer, sum(other)::integer
    FROM (
        SELECT specialist_id, date, profile_views, contact_views, catalog, search, direct, other
        FROM analytics.baseline
        WHERE date BETWEEN first AND last
        UNION ALL
        SELECT specialist_id, analytics.local_date(occurred_at, time_zone) AS date,
               count(*) FILTER (WHERE type = 'profile_view'),
               count(*) FILTER (WHERE type = 'contact_view'),
               count(*) FILTER (WHERE type = 'profile_view' AND source = 'catalog'),
               count(*) FILTER (WHERE type = 'profile_view' AND source = 'search'),
               count(*) FILTER (WHERE type = 'profile_view' AND source = 'direct'),
               count(*) FILTER (WHERE type = 'profile_view' AND source = 'other')
        FROM analytics.event
        WHERE day BETWEEN analytics.first_utc_day(first, time_zone) AND analytics.last_utc_day(last, time_zone)
          AND analytics.local_date(occurred_at, time_zone) BETWEEN first AND last
          AND excluded IS NULL
        GROUP BY 1, 2
    ) AS part
    GROUP BY specialist_id, date
$views_between$;

-- The daily rows that are not what the formula says, as analytics.wrong_rows finds those of one date.
CREATE FUNCTION analytics.wrong_rows_between(first date, last date, time_zone text, of_specialists text[])
    RETURNS TABLE (specialist_id text, date date,
                   has_profile_views integer, profile_views integer,
                   has_contact_views integer, contact_views integer,
                   has_sources jsonb, sources jsonb)
    LANGUAGE sql STABLE PARALLEL SAFE AS $wrong_rows_between$
    SELECT specialist_id, date, has_profile_views, profile_views, has_contact_views, contact_views,
           has_sources, analytics.sources(catalog, search, direct, other)
    FROM (
        SELECT coalesce("specialistId", specialist_id) AS specialist_id, coalesce(daily."date", views.date) AS date,
               "profileViews" AS has_profile_views, coalesce(profile_views, 0) AS profile_views,
               "contactViews" AS has_contact_views, coalesce(contact_views, 0) AS contact_views,
               "sources" AS has_sources,
               coalesce(catalog, 0) AS catalog, coalesce(search, 0) AS search,
               coalesce(direct, 0) AS direct, coalesce(other, 0) AS other,
               "consultationRequests" AS requests, "orders" AS orders, "conversionRateProfileToContact" AS to_contact,
               "conversionRateContactToRequest" AS to_request, "conversionRateRequestToOrder" AS to_order
        FROM (SELECT * FROM analytics.views_between(first, last, time_zone)
              WHERE of_specialists IS NULL OR specialist_id = ANY (of_specialists)) AS views
        FULL JOIN (SELECT * FROM "SpecialistAnalyticsDaily"
                   WHERE "date" BETWEEN first AND last
                     AND (of_specialists IS NULL OR "specialistId" = ANY (of_specialists))) AS daily
            ON "specialistId" = specialist_id AND daily."date" = views.date
    ) AS pair
    WHERE CASE
        WHEN has_profile_views IS NULL THEN
            (profile_views <> 0 OR contact_views <> 0)
            AND EXISTS (SELECT FROM "SpecialistProfile" AS specialist WHERE specialist."id" = specialist_id)
        ELSE
            has_profile_views <> profile_views OR has_contact_views <> contact_views
            OR analytics.source_views(has_sources, 'catalog') <> catalog
            OR analytics.source_views(has_sources, 'search') <> search
            OR analytics.source_views(has_sources, 'direct') <> direct
            OR analytics.source_views(has_sources, 'other') <> other
            OR to_contact <> analytics.conversion_rate(contact_views, profile_views)
            OR to_request <> analytics.conversion_rate(requests, contact_views)
            OR to_order <> analytics.conversion_rate(orders, requests)
        END
$wrong_rows_between$;

-- As before, out of the same text.
CREATE OR REPLACE FUNCTION analytics.views(of_date date, time_zone text)
    RETURNS TABLE (specialist_id text, profile_views integer, contact_views integer,
                   catalog integer, search integer, direct integer, other integer)
    LANGUAGE sql STABLE PARALLEL SAFE AS $views$
    SELECT specialist_id, profile_views, contact_views, catalog, search, direct, other
    FROM analytics.views_between(of_date, of_date, time_zone)
$views$;

CREATE OR REPLACE FUNCTION analytics.wrong_rows(of_date date, time_zone text, of_specialist text DEFAULT NULL)
    RETURNS TABLE (specialist_id text,
                   has_profile_views integer, profile_views integer,
                   has_contact_views integer, contact_views integer,
                   has_sources jsonb, sources jsonb)
    LANGUAGE sql STABLE PARALLEL SAFE AS $wrong_rows$
    SELECT specialist_id, has_profile_views, profile_views, has_contact_views, contact_views, has_sources, sources
    FROM analytics.wrong_rows_between(
        of_date, of_date, time_zone, CASE WHEN of_specialist IS NOT NULL THEN ARRAY[of_specialist] END
    )
$wrong_rows$;

-- Forget refreshes that have ended: the web tier asks for one whenever somebody looks at a page. Those that went well go
-- after a day, the others after a week; returns how many went. What may go is decided here and not by the caller, whose role
-- can delete nothing else; what operators and the clock had done stays for ever.
CREATE FUNCTION analytics.prune_refreshes() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $prune_refreshes$
DECLARE
    old bigint[];
BEGIN
    old := ARRAY(
        SELECT id FROM analytics.run
        WHERE kind = 'refresh'
          AND (state = 'done' AND ended_at < now() - interval '1 day'
               OR state IN ('failed', 'stopped') AND ended_at < now() - interval '7 days')
        FOR UPDATE SKIP LOCKED
    );
    DELETE FROM analytics.run_problem WHERE run = ANY (old);
    DELETE FROM analytics.run WHERE id = ANY (old);
    RETURN cardinality(old);
END
$prune_refreshes$;
REVOKE EXECUTE ON FUNCTION analytics.prune_refreshes() FROM PUBLIC;
