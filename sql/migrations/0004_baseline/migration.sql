-- The one formula: views of a specialist and date = baseline + what the ledger counts. Locks nothing that is in use; reads
-- "SpecialistAnalyticsDaily" once.

-- Counts whose events we do not have. One row an origin: an import of legacy counters can be assigned again and again
-- without touching what was sealed.
CREATE TYPE analytics.baseline_origin AS ENUM ('legacy', 'sealed');
CREATE TABLE analytics.baseline (
    date          date                      NOT NULL,  -- in the zone that held when the row was written
    specialist_id text                      NOT NULL,
    origin        analytics.baseline_origin NOT NULL,  -- legacy: counted before us; sealed: the sum of ledger days dropped since
    profile_views integer                   NOT NULL DEFAULT 0 CHECK (profile_views >= 0),
    contact_views integer                   NOT NULL DEFAULT 0 CHECK (contact_views >= 0),
    catalog       integer                   NOT NULL DEFAULT 0 CHECK (catalog >= 0),  -- profile views by source
    search        integer                   NOT NULL DEFAULT 0 CHECK (search >= 0),
    direct        integer                   NOT NULL DEFAULT 0 CHECK (direct >= 0),
    other         integer                   NOT NULL DEFAULT 0 CHECK (other >= 0),
    PRIMARY KEY (date, specialist_id, origin)
);

-- Which UTC days of the ledger were folded into the baseline, and by the midnight of which zone. A day that has no
-- partition and is not here either is gone: a sum over it would be too small.
CREATE TABLE analytics.sealed_day (
    day       date        NOT NULL PRIMARY KEY,
    time_zone text        NOT NULL,
    sealed_at timestamptz NOT NULL DEFAULT now()
);

-- As before, but a number that no day can have counts as 0 too: cast to an integer it would stop the rows around it.
CREATE OR REPLACE FUNCTION analytics.source_views(sources jsonb, source text) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN jsonb_typeof(sources -> source) = 'number' AND abs((sources -> source)::numeric) < 1000000000
                THEN (sources -> source)::integer ELSE 0 END;

-- The UTC days that a local date touches: two at most, but where a clock was set. A midnight that was there twice, because
-- the clock went back over it, is the later one to PostgreSQL; the date began an hour before.
CREATE FUNCTION analytics.first_utc_day(of_date date, time_zone text) RETURNS date
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN least(
        of_date::timestamp AT TIME ZONE time_zone AT TIME ZONE 'UTC',
        (of_date - interval '1 hour') AT TIME ZONE time_zone AT TIME ZONE 'UTC' + interval '1 hour'
    )::date;

CREATE FUNCTION analytics.last_utc_day(of_date date, time_zone text) RETURNS date
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (((of_date + 1)::timestamp AT TIME ZONE time_zone AT TIME ZONE 'UTC') - interval '1 microsecond')::date;

-- The formula. Which events a date has, local_date alone decides, as it does for the live path: an interval would be wrong
-- where a clock goes back over midnight. The UTC days are there for the planner, which leaves out all other partitions.
-- This function and the next are texts, so that PostgreSQL inlines them and a change of the site's tables is not refused
-- because of them.
CREATE FUNCTION analytics.views(of_date date, time_zone text)
    RETURNS TABLE (specialist_id text, profile_views integer, contact_views integer,
                   catalog integer, search integer, direct integer, other integer)
    LANGUAGE sql STABLE PARALLEL SAFE AS $views$
    SELECT specialist_id, sum(profile_views)::integer, sum(contact_views)::integer,
           sum(catalog)::integer, sum(search)::integer, sum(direct)::integer, sum(other)::integer
    FROM (
        SELECT specialist_id, profile_views, contact_views, catalog, search, direct, other
        FROM analytics.baseline
        WHERE date = of_date
        UNION ALL
        SELECT specialist_id,
               count(*) FILTER (WHERE type = 'profile_view'),
               count(*) FILTER (WHERE type = 'contact_view'),
               count(*) FILTER (WHERE type = 'profile_view' AND source = 'catalog'),
               count(*) FILTER (WHERE type = 'profile_view' AND source = 'search'),
               count(*) FILTER (WHERE type = 'profile_view' AND source = 'direct'),
               count(*) FILTER (WHERE type = 'profile_view' AND source = 'other')
        FROM analytics.event
        WHERE day BETWEEN analytics.first_utc_day(of_date, time_zone) AND analytics.last_utc_day(of_date, time_zone)
          AND analytics.local_date(occurred_at, time_zone) = of_date
          AND excluded IS NULL
        GROUP BY specialist_id
    ) AS part
    GROUP BY specialist_id
$views$;

-- The daily rows of a date that are not what the formula says: what they have (NULL: there is no row), and what they should
-- have. A row that has views and should have none should have 0. Who is no specialist any more gets no row.
CREATE FUNCTION analytics.wrong_rows(of_date date, time_zone text, of_specialist text DEFAULT NULL)
    RETURNS TABLE (specialist_id text,
                   has_profile_views integer, profile_views integer,
                   has_contact_views integer, contact_views integer,
                   has_sources jsonb, sources jsonb)
    LANGUAGE sql STABLE PARALLEL SAFE AS $wrong_rows$
    SELECT specialist_id, has_profile_views, profile_views, has_contact_views, contact_views,
           has_sources, analytics.sources(catalog, search, direct, other)
    FROM (
        SELECT coalesce("specialistId", specialist_id) AS specialist_id,
               "profileViews" AS has_profile_views, coalesce(profile_views, 0) AS profile_views,
               "contactViews" AS has_contact_views, coalesce(contact_views, 0) AS contact_views,
               "sources" AS has_sources,
               coalesce(catalog, 0) AS catalog, coalesce(search, 0) AS search,
               coalesce(direct, 0) AS direct, coalesce(other, 0) AS other,
               "consultationRequests" AS requests, "orders" AS orders, "conversionRateProfileToContact" AS to_contact,
               "conversionRateContactToRequest" AS to_request, "conversionRateRequestToOrder" AS to_order
        FROM (SELECT * FROM analytics.views(of_date, time_zone)
              WHERE of_specialist IS NULL OR specialist_id = of_specialist) AS views
        FULL JOIN (SELECT * FROM "SpecialistAnalyticsDaily"
                   WHERE "date" = of_date AND (of_specialist IS NULL OR "specialistId" = of_specialist)) AS daily
            ON "specialistId" = specialist_id
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
$wrong_rows$;

-- What the daily table holds of the time before the ledger is nowhere else: it becomes baseline, or a recompute would take
-- it for a mistake. Left out are dates that the ledger may have a part in, whatever the zone.
INSERT INTO analytics.baseline
    (date, specialist_id, origin, profile_views, contact_views, catalog, search, direct, other)
SELECT "date", "specialistId", 'legacy', greatest("profileViews", 0), greatest("contactViews", 0),
       greatest(analytics.source_views("sources", 'catalog'), 0), greatest(analytics.source_views("sources", 'search'), 0),
       greatest(analytics.source_views("sources", 'direct'), 0), greatest(analytics.source_views("sources", 'other'), 0)
FROM "SpecialistAnalyticsDaily"
WHERE ("profileViews" > 0 OR "contactViews" > 0)
  AND NOT EXISTS (
      SELECT FROM generate_series("date"::timestamp - interval '1 day', "date" + 1, interval '1 day') AS day
      WHERE to_regclass('analytics.event_' || to_char(day, 'YYYYMMDD')) IS NOT NULL
  );
