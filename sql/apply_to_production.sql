-- Everything that `python -m worker migrate` does, for psql -f or for pasting into a query console. It is one statement,
-- and so one transaction: all of it or nothing. It can be run again at any time; what is applied is left alone. (psql
-- tells of an error with its exit code only when asked: psql -v ON_ERROR_STOP=1 -f.)
-- Made from sql/migrations/ by `make sql`; do not edit it.
DO $apply_to_production$
DECLARE
    checksum_applied text;
BEGIN
    EXECUTE $begin$
-- What comes before the first migration, in the same transaction as all of them.
-- Locks: a transaction-level advisory lock (PgBouncer); who comes second waits here until the first has committed.
DO $begin_migrations$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('analytics.migrate'));

    -- Whoever waits for the lock of a table keeps everybody behind him waiting too. Better to fail and be started again.
    PERFORM set_config('lock_timeout', '5s', true);

    -- Names without a schema are the site's tables. To a role called "analytics" they would be ours: its path is "$user".
    PERFORM set_config('search_path', coalesce(string_agg(quote_ident(name), ', ' ORDER BY place), ''), true)
    FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, place)
    WHERE name <> 'analytics';

    -- IF NOT EXISTS would ask for the right to create even where there is nothing to create.
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'analytics') THEN
        CREATE SCHEMA analytics;
    END IF;
    IF to_regclass('analytics.migration') IS NULL THEN
        CREATE TABLE analytics.migration (
            name       text        NOT NULL PRIMARY KEY,
            checksum   text        NOT NULL,                -- of the text that was applied
            applied_at timestamptz NOT NULL DEFAULT now()
        );
    END IF;
END
$begin_migrations$
$begin$;

    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '0001_specialist_analytics_daily');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_0001_specialist_analytics_daily$
-- The table of the daily rows, exactly as Prisma writes it for the site's model. Where the table is already there, nothing
-- is touched. Locks: for a moment "SpecialistProfile" (SHARE ROW EXCLUSIVE), to which the foreign key points.
DO $migration$
BEGIN
    IF to_regclass('"SpecialistProfile"') IS NULL THEN
        RAISE EXCEPTION 'the table "SpecialistProfile" is missing: it belongs to the site, whose migrations must run first';
    END IF;

    IF to_regclass('"SpecialistAnalyticsDaily"') IS NOT NULL THEN
        RETURN;
    END IF;

    -- CreateTable
    CREATE TABLE "SpecialistAnalyticsDaily" (
        "id" TEXT NOT NULL,
        "specialistId" TEXT NOT NULL,
        "date" DATE NOT NULL,
        "profileViews" INTEGER NOT NULL DEFAULT 0,
        "contactViews" INTEGER NOT NULL DEFAULT 0,
        "consultationRequests" INTEGER NOT NULL DEFAULT 0,
        "orders" INTEGER NOT NULL DEFAULT 0,
        "reviews" INTEGER NOT NULL DEFAULT 0,
        "sources" JSONB,
        "conversionRateProfileToContact" DOUBLE PRECISION NOT NULL DEFAULT 0,
        "conversionRateContactToRequest" DOUBLE PRECISION NOT NULL DEFAULT 0,
        "conversionRateRequestToOrder" DOUBLE PRECISION NOT NULL DEFAULT 0,
        "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
        "updatedAt" TIMESTAMP(3) NOT NULL,

        CONSTRAINT "SpecialistAnalyticsDaily_pkey" PRIMARY KEY ("id")
    );

    -- CreateIndex
    CREATE INDEX "SpecialistAnalyticsDaily_specialistId_date_idx" ON "SpecialistAnalyticsDaily"("specialistId", "date");

    -- CreateIndex
    CREATE INDEX "SpecialistAnalyticsDaily_date_idx" ON "SpecialistAnalyticsDaily"("date");

    -- CreateIndex
    CREATE UNIQUE INDEX "SpecialistAnalyticsDaily_specialistId_date_key" ON "SpecialistAnalyticsDaily"("specialistId", "date");

    -- AddForeignKey
    ALTER TABLE "SpecialistAnalyticsDaily" ADD CONSTRAINT "SpecialistAnalyticsDaily_specialistId_fkey" FOREIGN KEY ("specialistId") REFERENCES "SpecialistProfile"("id") ON DELETE CASCADE ON UPDATE CASCADE;
END
$migration$;
$run_0001_specialist_analytics_daily$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('0001_specialist_analytics_daily', 'ae18e98280a75973636ce4f3faac1fae4911c6578e0deffe8f8ce648992ffe3e');
        RAISE NOTICE 'applied 0001_specialist_analytics_daily';
    ELSIF checksum_applied <> 'ae18e98280a75973636ce4f3faac1fae4911c6578e0deffe8f8ce648992ffe3e' THEN
        RAISE EXCEPTION 'the migration 0001_specialist_analytics_daily was changed after it had been applied: restore the file';
    END IF;

    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '0002_analytics');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_0002_analytics$
-- The schema of the analytics worker. Prisma does not look here: it reads "SpecialistAnalyticsDaily" in its own schema.
-- Locks: nothing of the site, but for a moment (SHARE UPDATE EXCLUSIVE) on "SpecialistAnalyticsDaily" for its fillfactor.

-- A counter row is updated all day. Free space in each page lets PostgreSQL do that in place, without touching indexes.
-- Only the table's owner can say so; where that is the site's own role, counting is right all the same, but writes more.
DO $fillfactor$
BEGIN
    ALTER TABLE "SpecialistAnalyticsDaily" SET (fillfactor = 85);
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'not the owner of "SpecialistAnalyticsDaily": its fillfactor stays as it is';
END
$fillfactor$;

CREATE TYPE analytics.event_type AS ENUM ('profile_view', 'contact_view');
CREATE TYPE analytics.event_source AS ENUM ('catalog', 'search', 'direct', 'other');
CREATE TYPE analytics.exclusion AS ENUM ('bot', 'self_view');

-- How far each stream has been read, and the books about it. One row a shard; every commit starts by locking it.
CREATE TABLE analytics.stream_position (
    stream        text        NOT NULL PRIMARY KEY,
    epoch         text        NOT NULL,                -- replication id of the Redis server that the numbers below are about
    last_id       text        NOT NULL,                -- id of the last entry that was read
    ordinal       bigint,                              -- its number among all entries ever added; NULL: not known after a rewind
    entries_read  bigint      NOT NULL DEFAULT 0,
    counted       bigint      NOT NULL DEFAULT 0,
    duplicates    bigint      NOT NULL DEFAULT 0,
    excluded      bigint      NOT NULL DEFAULT 0,
    dead_lettered bigint      NOT NULL DEFAULT 0,
    lost          bigint      NOT NULL DEFAULT 0,      -- entries that left the stream before they were read
    committed_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT the_books_balance CHECK (entries_read = counted + duplicates + excluded + dead_lettered)
) WITH (fillfactor = 50);

-- What the reader found wrong between its own notes and the stream, and what it did.
CREATE TABLE analytics.continuity_event (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    happened_at timestamptz NOT NULL DEFAULT now(),
    stream      text        NOT NULL,
    verdict     text        NOT NULL,                  -- trimmed_unread, deleted_unread, restarted, emptied
    action      text        NOT NULL,                  -- went_on, rewound
    lost        bigint,                                -- NULL: the number cannot be known
    stored      jsonb       NOT NULL,                  -- the position before
    seen        jsonb       NOT NULL                   -- the stream's facts at that moment
);

-- The ledger: every accepted event once, one partition a UTC day.
CREATE TABLE analytics.event (
    day           date                   NOT NULL,     -- UTC day of occurred_at
    event_id      uuid                   NOT NULL,
    occurred_at   timestamptz            NOT NULL,
    type          analytics.event_type   NOT NULL,
    source        analytics.event_source NOT NULL,
    excluded      analytics.exclusion,                 -- why it does not count; NULL: it counts
    specialist_id text                   NOT NULL,
    contact_type  text,
    visitor       uuid,                                -- keyed hash of the visitor
    entry_id      text                   NOT NULL,     -- the stream entry that brought it
    stream        smallint               NOT NULL,     -- its shard
    PRIMARY KEY (day, event_id)
) PARTITION BY RANGE (day);

-- What could not be counted, as it was in the stream. An entry that is read again stays one dead letter.
CREATE TABLE analytics.dead_letter (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    buried_at timestamptz NOT NULL DEFAULT now(),
    stream    text        NOT NULL,
    entry_id  text        NOT NULL,
    reason    text        NOT NULL,
    fields    jsonb       NOT NULL                     -- [[name, value], …]; bytes that are no text: {"base64": "…"}
);
CREATE UNIQUE INDEX dead_letter_entry_key ON analytics.dead_letter (stream, entry_id, md5(fields::text));
CREATE INDEX dead_letter_reason_idx ON analytics.dead_letter (reason, buried_at);

-- The day that an event belongs to: the one place where the zone decides.
CREATE FUNCTION analytics.local_date(occurred_at timestamptz, time_zone text) RETURNS date
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (occurred_at AT TIME ZONE time_zone)::date;

-- Percent with one decimal, halves rounded up as JavaScript's Math.round does; 0 where the denominator is 0.
CREATE FUNCTION analytics.conversion_rate(part integer, whole integer) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN whole = 0 THEN 0 ELSE floor(1000.0::double precision * part / whole + 0.5) / 10 END;

-- The "sources" object: profile views by source. Through text, because that is faster than jsonb_build_object. These two
-- are STABLE, because format is: declared IMMUTABLE they would not be inlined and cost a function call a row.
CREATE FUNCTION analytics.sources(catalog integer, search integer, direct integer, other integer) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN format('{"catalog":%s,"search":%s,"direct":%s,"other":%s}', catalog, search, direct, other)::jsonb;

-- What somebody else wrote there and is no number counts as 0: one odd row must not stop the rows around it.
CREATE FUNCTION analytics.source_views(sources jsonb, source text) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN jsonb_typeof(sources -> source) = 'number' THEN (sources -> source)::integer ELSE 0 END;

CREATE FUNCTION analytics.add_sources(a jsonb, b jsonb) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN analytics.sources(
        analytics.source_views(a, 'catalog') + analytics.source_views(b, 'catalog'),
        analytics.source_views(a, 'search') + analytics.source_views(b, 'search'),
        analytics.source_views(a, 'direct') + analytics.source_views(b, 'direct'),
        analytics.source_views(a, 'other') + analytics.source_views(b, 'other'));

-- The ledger partition of one UTC day: created first and attached then, because PARTITION OF locks the whole ledger.
CREATE FUNCTION analytics.create_partition(day date) RETURNS boolean
    LANGUAGE plpgsql AS $create_partition$
DECLARE
    partition text := 'event_' || to_char(day, 'YYYYMMDD');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('analytics.create_partition'));
    IF EXISTS (SELECT FROM pg_inherits
               WHERE inhparent = 'analytics.event'::regclass AND inhrelid = to_regclass('analytics.' || partition)) THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE IF NOT EXISTS analytics.%I (LIKE analytics.event INCLUDING DEFAULTS INCLUDING INDEXES,
                    CONSTRAINT its_day CHECK (day IS NOT NULL AND day = %L::date))', partition, day);
    EXECUTE format('ALTER TABLE analytics.event ATTACH PARTITION analytics.%I FOR VALUES FROM (%L) TO (%L)',
                   partition, day, day + 1);
    EXECUTE format('ALTER TABLE analytics.%I DROP CONSTRAINT IF EXISTS its_day', partition);
    RETURN true;
END
$create_partition$;
$run_0002_analytics$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('0002_analytics', 'dc08d97d61f9e83057af8debaed698a76e28c48124085146272f71b681adebb5');
        RAISE NOTICE 'applied 0002_analytics';
    ELSIF checksum_applied <> 'dc08d97d61f9e83057af8debaed698a76e28c48124085146272f71b681adebb5' THEN
        RAISE EXCEPTION 'the migration 0002_analytics was changed after it had been applied: restore the file';
    END IF;

    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '0003_dead_letters');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_0003_dead_letters$
-- What becomes of dead letters, and the circuit breaker of each stream.
-- Locks: stream_position and dead_letter for a moment (ACCESS EXCLUSIVE; no row is rewritten).

-- The breaker's window counts the latest entries, older ones fading out; the commit that reads on keeps it.
ALTER TABLE analytics.stream_position
    ADD COLUMN window_entries double precision NOT NULL DEFAULT 0,
    ADD COLUMN window_bad     double precision NOT NULL DEFAULT 0,
    ADD COLUMN halted_at      timestamptz,                        -- NULL: entries are being counted
    ADD COLUMN halted_because text,
    ADD COLUMN waived_until   text             NOT NULL DEFAULT '0-0'; -- entries up to this one pass, however many are bad

ALTER TABLE analytics.dead_letter
    ADD COLUMN state text NOT NULL DEFAULT 'buried'
        CONSTRAINT a_known_state CHECK (state IN ('buried', 'requeued', 'discarded'));

-- Who did what with a dead letter.
CREATE TABLE analytics.dead_letter_action (
    id             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dead_letter_id bigint      NOT NULL REFERENCES analytics.dead_letter (id) ON DELETE CASCADE,
    happened_at    timestamptz NOT NULL DEFAULT now(),
    action         text        NOT NULL,               -- requeued, discarded
    operator       text        NOT NULL,
    stream         text,                               -- where it was sent again
    entry_id       text                                -- and its id there
);
CREATE INDEX dead_letter_action_letter_idx ON analytics.dead_letter_action (dead_letter_id);
$run_0003_dead_letters$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('0003_dead_letters', '8f6dc0c43e68d913f0e151660cc13c73f23b234264a239d7e47a92ee05d8cfb8');
        RAISE NOTICE 'applied 0003_dead_letters';
    ELSIF checksum_applied <> '8f6dc0c43e68d913f0e151660cc13c73f23b234264a239d7e47a92ee05d8cfb8' THEN
        RAISE EXCEPTION 'the migration 0003_dead_letters was changed after it had been applied: restore the file';
    END IF;

    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '0004_baseline');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_0004_baseline$
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
$run_0004_baseline$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('0004_baseline', '3bd23315888300cee053125bbae634e34d07e71b3d65cade685dee064b9caef5');
        RAISE NOTICE 'applied 0004_baseline';
    ELSIF checksum_applied <> '3bd23315888300cee053125bbae634e34d07e71b3d65cade685dee064b9caef5' THEN
        RAISE EXCEPTION 'the migration 0004_baseline was changed after it had been applied: restore the file';
    END IF;

    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '0005_alerts');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_0005_alerts$
-- Alerts: what is wrong now and what was, and whether people have been told. Locks nothing that was there before.
CREATE TABLE analytics.alert (
    id            bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          text             NOT NULL,                           -- lag, silence, dead_letters, …
    started_at    timestamptz      NOT NULL,
    last_seen_at  timestamptz      NOT NULL,                           -- when somebody saw for the last time that it holds
    ended_at      timestamptz,                                         -- NULL: it is not over
    text          text             NOT NULL,                           -- what is wrong, as it was at its worst
    value         double precision NOT NULL,                           -- the same as a number
    threshold     double precision NOT NULL,                           -- what it is held against
    start_sent_at timestamptz,                                         -- NULL: nobody has been told yet
    end_sent_at   timestamptz,
    retry_at      timestamptz      NOT NULL DEFAULT '-infinity'        -- until then somebody else is telling it, or it waits
);
-- However many processes watch, an alert begins once.
CREATE UNIQUE INDEX alert_open_key ON analytics.alert (name) WHERE ended_at IS NULL;
CREATE INDEX alert_untold_idx ON analytics.alert (id) WHERE end_sent_at IS NULL;
$run_0005_alerts$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('0005_alerts', '00af5b534294606c6da215708942c70713eb234bffd75c2fddf997f4719afab7');
        RAISE NOTICE 'applied 0005_alerts';
    ELSIF checksum_applied <> '00af5b534294606c6da215708942c70713eb234bffd75c2fddf997f4719afab7' THEN
        RAISE EXCEPTION 'the migration 0005_alerts was changed after it had been applied: restore the file';
    END IF;

    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '0006_least_privilege');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_0006_least_privilege$
-- What a worker needs that runs under a role of its own, which owns nothing: see sql/queries/grant_worker_rights.sql.
-- Locks: nothing but the function's row in the catalogue.

-- To attach a partition one must own the ledger. So the function does it in the owner's name, for whom the owner lets,
-- and finds its names where no caller can put others in their place.
ALTER FUNCTION analytics.create_partition(date) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE EXECUTE ON FUNCTION analytics.create_partition(date) FROM PUBLIC;
$run_0006_least_privilege$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('0006_least_privilege', '59821360f6ee9a75a6097438a9c5eb8f15913d237447f7f9653a3a17db1cec94');
        RAISE NOTICE 'applied 0006_least_privilege';
    ELSIF checksum_applied <> '59821360f6ee9a75a6097438a9c5eb8f15913d237447f7f9653a3a17db1cec94' THEN
        RAISE EXCEPTION 'the migration 0006_least_privilege was changed after it had been applied: restore the file';
    END IF;

    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '0008_outcomes');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_0008_outcomes$
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
$run_0008_outcomes$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('0008_outcomes', '3aceea8c0d95ffb280ed1b0f20efad7c4fe571d478e5f991f5a2e3b6393677e2');
        RAISE NOTICE 'applied 0008_outcomes';
    ELSIF checksum_applied <> '3aceea8c0d95ffb280ed1b0f20efad7c4fe571d478e5f991f5a2e3b6393677e2' THEN
        RAISE EXCEPTION 'the migration 0008_outcomes was changed after it had been applied: restore the file';
    END IF;

    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '0009_sealing');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_0009_sealing$
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
$run_0009_sealing$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('0009_sealing', 'f591692e63db404f46947132a5d28b8ab19f0b77cf03abd1767930d1a6a1fe9f');
        RAISE NOTICE 'applied 0009_sealing';
    ELSIF checksum_applied <> 'f591692e63db404f46947132a5d28b8ab19f0b77cf03abd1767930d1a6a1fe9f' THEN
        RAISE EXCEPTION 'the migration 0009_sealing was changed after it had been applied: restore the file';
    END IF;

    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '0010_runs');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_0010_runs$
-- Runs: what operators and the clock had done, with who, when, what, how far and how it ended. Locks nothing.

CREATE TYPE analytics.run_state AS ENUM ('queued', 'running', 'done', 'failed', 'stopped');

CREATE TABLE analytics.run (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text        NOT NULL,
    arguments  jsonb       NOT NULL,
    operator   text        NOT NULL,
    state      analytics.run_state NOT NULL DEFAULT 'queued',
    attempt    integer     NOT NULL DEFAULT 0,         -- the number of the execution that may go on with it: a fence
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    seen_at    timestamptz NOT NULL DEFAULT now(),     -- the last sign of life
    ended_at   timestamptz,
    done       bigint      NOT NULL DEFAULT 0,
    total      bigint,                                 -- NULL: not known
    deaths     integer     NOT NULL DEFAULT 0,         -- executions in a row that died without a step
    cursor     jsonb       NOT NULL DEFAULT '{}',      -- where the next step begins
    result     json        NOT NULL DEFAULT '{}',      -- what came of the steps so far; in its own order
    stopped_by text,                                   -- who asked for an end between two steps
    error      text
) WITH (fillfactor = 50);

-- The same thing is done once at a time: who asks for it again gets the run that is open.
CREATE UNIQUE INDEX run_open_key ON analytics.run (kind, md5(arguments::text)) WHERE state IN ('queued', 'running');

-- What a run found and could not use: a malformed key, an unknown specialist. Nothing that would have stopped it.
CREATE TABLE analytics.run_problem (
    run     bigint NOT NULL REFERENCES analytics.run,
    reason  text   NOT NULL,
    subject text   NOT NULL,
    PRIMARY KEY (run, reason, subject)
);
$run_0010_runs$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('0010_runs', '402ef215312715400d9e85c431afd2df167d73940ce5904e7aaba58880a2838a');
        RAISE NOTICE 'applied 0010_runs';
    ELSIF checksum_applied <> '402ef215312715400d9e85c431afd2df167d73940ce5904e7aaba58880a2838a' THEN
        RAISE EXCEPTION 'the migration 0010_runs was changed after it had been applied: restore the file';
    END IF;

    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '0012_legacy_counters');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_0012_legacy_counters$
-- What the counters said that the site kept in Redis before there were events. Locks nothing that was there before.

-- One row a counter of a day: the greatest number ever seen of it, for counters only grow, and one that went away was right
-- until then. The baseline is made of these, so that reading a counter twice, or after it grew, adds nothing twice.
CREATE TABLE analytics.legacy_counter (
    date          date                   NOT NULL,     -- as the key has it: a day of UTC
    specialist_id text                   NOT NULL,
    type          analytics.event_type   NOT NULL,
    spelling      text                   NOT NULL,     -- of the source, with the colon before it; '' where the key has none
    source        analytics.event_source NOT NULL,     -- what that counts under
    value         integer                NOT NULL CHECK (value >= 0),
    PRIMARY KEY (date, specialist_id, type, spelling)
);

-- The same of the totals of all days, with which the counters are compared.
CREATE TABLE analytics.legacy_total (
    specialist_id text                 NOT NULL,
    type          analytics.event_type NOT NULL,
    spelling      text                 NOT NULL,       -- of the contact's type, with the colon before it; '' for all together
    value         bigint               NOT NULL CHECK (value >= 0),
    PRIMARY KEY (specialist_id, type, spelling)
);

-- Each total beside the sum of its parts: of the days, and, for contact views, of the contacts' types.
CREATE VIEW analytics.legacy_check AS
    SELECT name, specialist_id, coalesce(parts, 0) AS parts, coalesce(total, 0) AS total
    FROM (
        SELECT type || 's' AS name, specialist_id, sum(value)::bigint AS parts
        FROM analytics.legacy_counter
        GROUP BY type, specialist_id
        UNION ALL
        SELECT 'contact_types', specialist_id, sum(value)::bigint
        FROM analytics.legacy_total
        WHERE spelling <> ''
        GROUP BY specialist_id
    ) AS part
    FULL JOIN (
        SELECT type || 's' AS name, specialist_id, value AS total
        FROM analytics.legacy_total
        WHERE spelling = ''
        UNION ALL
        SELECT 'contact_types', specialist_id, value
        FROM analytics.legacy_total
        WHERE spelling = '' AND type = 'contact_view'
    ) AS whole USING (name, specialist_id);
$run_0012_legacy_counters$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('0012_legacy_counters', 'e0c7077e89861b8fa055dd3d81524333a8975ba5e8755aa051ce745b09e3d6bf');
        RAISE NOTICE 'applied 0012_legacy_counters';
    ELSIF checksum_applied <> 'e0c7077e89861b8fa055dd3d81524333a8975ba5e8755aa051ce745b09e3d6bf' THEN
        RAISE EXCEPTION 'the migration 0012_legacy_counters was changed after it had been applied: restore the file';
    END IF;

    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '0013_close');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_0013_close$
-- Closing days, and what the clock had done. Locks nothing that was there before.

-- Days that are over: all that had reached Redis by their end is counted, and their rows were held against their events.
CREATE TABLE analytics.closed_day (
    date         date        NOT NULL PRIMARY KEY,     -- in the zone that held then
    closed_at    timestamptz NOT NULL DEFAULT now(),
    rows         integer     NOT NULL,                 -- daily rows that the date had
    differences  integer     NOT NULL,                 -- how many of them were not what the events say, and were put right
    not_compared text                                  -- why they could not be held against the events; NULL: they were
);

-- Daily rows of days that are over which were not what the events say, as they were and as they were made. Where all six
-- are the same, it was the rates.
CREATE TABLE analytics.day_difference (
    id                bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    found_at          timestamptz NOT NULL DEFAULT now(),
    date              date        NOT NULL,
    specialist_id     text        NOT NULL,
    has_profile_views integer,                         -- NULL: there was no row
    profile_views     integer     NOT NULL,
    has_contact_views integer,
    contact_views     integer     NOT NULL,
    has_sources       jsonb,
    sources           jsonb       NOT NULL
);
CREATE INDEX day_difference_date_idx ON analytics.day_difference (date);
CREATE INDEX day_difference_found_idx ON analytics.day_difference (found_at);

-- The last day such that it and every day before it, since the first, is closed; NULL: none is.
CREATE FUNCTION analytics.complete_through() RETURNS date
    LANGUAGE sql STABLE PARALLEL SAFE AS $complete_through$
    SELECT max(date)
    FROM (SELECT date, min(date) OVER () + (row_number() OVER (ORDER BY date))::integer - 1 AS without_a_gap
          FROM analytics.closed_day) AS closed
    WHERE date = without_a_gap
$complete_through$;

-- How each line of the schedule ran last. What ended stays until the next one ends, so that a line that fails is seen to
-- fail while it is tried again.
CREATE TABLE analytics.scheduled (
    name       text        NOT NULL PRIMARY KEY,
    begun_at   timestamptz NOT NULL,                   -- when it was last begun; without an end if that is after ended_at
    tick       timestamptz,                            -- the moment that the run that ended last was for
    started_at timestamptz,
    ended_at   timestamptz,
    result     jsonb,
    error      text                                    -- why it failed; NULL: it did not
) WITH (fillfactor = 50);
$run_0013_close$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('0013_close', '3736bb78f219681897b788357b4008b40d1b82bea9ce9a7dd3c06bbfb180f5f8');
        RAISE NOTICE 'applied 0013_close';
    ELSIF checksum_applied <> '3736bb78f219681897b788357b4008b40d1b82bea9ce9a7dd3c06bbfb180f5f8' THEN
        RAISE EXCEPTION 'the migration 0013_close was changed after it had been applied: restore the file';
    END IF;

    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '0014_requests');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_0014_requests$
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
$run_0014_requests$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('0014_requests', '1d146a9b91e81b3f31c1dbd1311687ac503f334ab4d414fc934d59707bd32731');
        RAISE NOTICE 'applied 0014_requests';
    ELSIF checksum_applied <> '1d146a9b91e81b3f31c1dbd1311687ac503f334ab4d414fc934d59707bd32731' THEN
        RAISE EXCEPTION 'the migration 0014_requests was changed after it had been applied: restore the file';
    END IF;

    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '0015_visitors');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_0015_visitors$
-- Unique visitors of each specialist and date. Locks nothing that was there before.

-- Whoever has a known visitor on a date has a row. Its number is exact, and kept when the ledger does not hold the date any
-- more; the sketches of several dates merge into an estimate for all of them, because days must not be added up.
CREATE TABLE analytics.daily_visitors (
    date          date    NOT NULL,                        -- in the zone below
    specialist_id text    NOT NULL,
    visitors      integer NOT NULL CHECK (visitors >= 0),  -- different ones among the events that count
    events        integer NOT NULL CHECK (events >= 0),    -- the events of the ledger that the number is of
    time_zone     text    NOT NULL,
    sketch        bytea   NOT NULL,                        -- an Apache DataSketches HLL sketch of the same visitors
    PRIMARY KEY (date, specialist_id)
) WITH (fillfactor = 85);

-- What the books of all streams together had counted when something that follows from the counted was last brought up to it:
-- while that stands, there is nothing to do. Who refreshes locks the row, so that of two the later one has the newer numbers.
CREATE TABLE analytics.refreshed_up_to (
    what    text   NOT NULL PRIMARY KEY,
    counted bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO analytics.refreshed_up_to (what, counted) VALUES ('visitors', -1);
$run_0015_visitors$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('0015_visitors', 'c655d16b029d7ec58e0f15bee2364ca2273192713dd79c9fced431695466e614');
        RAISE NOTICE 'applied 0015_visitors';
    ELSIF checksum_applied <> 'c655d16b029d7ec58e0f15bee2364ca2273192713dd79c9fced431695466e614' THEN
        RAISE EXCEPTION 'the migration 0015_visitors was changed after it had been applied: restore the file';
    END IF;

    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '0016_profile_totals');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_0016_profile_totals$
-- The lifetime totals in "SpecialistProfile", for a site that shows them: off, until ANALYTICS_PROFILE_TOTALS says otherwise.
-- Locks nothing that was there before.

-- Views of each specialist on all dates before closed_totals.closed_before: only the days since are added up each minute.
CREATE TABLE analytics.closed_total (
    specialist_id text   NOT NULL PRIMARY KEY,
    profile_views bigint NOT NULL,
    contact_views bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE analytics.closed_totals (
    one_row       boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (one_row),
    closed_before date                                     -- NULL: never added up yet
) WITH (fillfactor = 50);
INSERT INTO analytics.closed_totals DEFAULT VALUES;
INSERT INTO analytics.refreshed_up_to (what, counted) VALUES ('profile_totals', -1);

-- The totals of all dates: those closed, and the days since. `since` is closed_before, as a value that the planner sees. A text,
-- as analytics.views is, so that PostgreSQL inlines it and a change of the site's table is not refused because of it.
CREATE FUNCTION analytics.profile_totals(since date, ids text[] DEFAULT NULL)
    RETURNS TABLE (specialist_id text, profile_views integer, contact_views integer)
    LANGUAGE sql STABLE PARALLEL SAFE AS $profile_totals$
    SELECT specialist_id, least(sum(profile_views), 2147483647)::integer, least(sum(contact_views), 2147483647)::integer
    FROM (
        SELECT specialist_id, profile_views, contact_views
        FROM analytics.closed_total
        WHERE ids IS NULL OR specialist_id = ANY (ids)
        UNION ALL
        SELECT "specialistId", "profileViews", "contactViews"
        FROM "SpecialistAnalyticsDaily"
        WHERE "date" >= since AND (ids IS NULL OR "specialistId" = ANY (ids))
    ) AS part
    GROUP BY specialist_id
$profile_totals$;
$run_0016_profile_totals$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('0016_profile_totals', '8f19f81560925c120ce052aac213d5ed843c26a072f5d8bd7aa267ee93d1e8c8');
        RAISE NOTICE 'applied 0016_profile_totals';
    ELSIF checksum_applied <> '8f19f81560925c120ce052aac213d5ed843c26a072f5d8bd7aa267ee93d1e8c8' THEN
        RAISE EXCEPTION 'the migration 0016_profile_totals was changed after it had been applied: restore the file';
    END IF;

    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '0017_erase');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_0017_erase$
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
$run_0017_erase$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('0017_erase', '164cb3730fce768deaf53946c67704fa1505acbea14677b5a66aada58e257e67');
        RAISE NOTICE 'applied 0017_erase';
    ELSIF checksum_applied <> '164cb3730fce768deaf53946c67704fa1505acbea14677b5a66aada58e257e67' THEN
        RAISE EXCEPTION 'the migration 0017_erase was changed after it had been applied: restore the file';
    END IF;

    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '0018_reading');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_0018_reading$
-- What `report` and the page read. Locks: the ledger against writing (SHARE) while the index is made, about a second for
-- four million events. Nothing is lost meanwhile: events wait in Redis.

-- Contact views of a specialist by their type. They are the smaller part of all events, so counting hardly feels it.
CREATE INDEX event_contact_idx ON analytics.event (specialist_id, occurred_at)
    WHERE type = 'contact_view' AND excluded IS NULL;

-- All days of a specialist beside each other, as in the daily table.
CREATE INDEX daily_visitors_specialist_idx ON analytics.daily_visitors (specialist_id, date);
$run_0018_reading$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('0018_reading', '294f2f9ffb193b22c3262f9c0610cbaa64a9fb9d70f8a8d979f7c3ce4956f108');
        RAISE NOTICE 'applied 0018_reading';
    ELSIF checksum_applied <> '294f2f9ffb193b22c3262f9c0610cbaa64a9fb9d70f8a8d979f7c3ce4956f108' THEN
        RAISE EXCEPTION 'the migration 0018_reading was changed after it had been applied: restore the file';
    END IF;

    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '0019_packed_months');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_0019_packed_months$
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
$run_0019_packed_months$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('0019_packed_months', '78cbac94fb3ada0bbc2d44220d2686a5b8c30a4a60650bd6a09e18fb26918e90');
        RAISE NOTICE 'applied 0019_packed_months';
    ELSIF checksum_applied <> '78cbac94fb3ada0bbc2d44220d2686a5b8c30a4a60650bd6a09e18fb26918e90' THEN
        RAISE EXCEPTION 'the migration 0019_packed_months was changed after it had been applied: restore the file';
    END IF;

    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '0020_contact_index');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_0020_contact_index$
-- A specialist's contact views of a day are found by one index, whatever the statistics of a young partition say.
-- Locks: the ledger against reading and writing (ACCESS EXCLUSIVE) while the index is made, about a second for four million
-- events. Nothing is lost meanwhile: events wait in Redis. A long recompute or a dump holds it up for 5 s at most, and batches
-- and readings behind it; then start it again.

-- What else would hold it up is waited for first, while nobody has to wait for us: sealing, and the minute's visitors.
SELECT pg_advisory_xact_lock(hashtext('analytics.seal_oldest_day'));
SELECT FROM analytics.refreshed_up_to WHERE what = 'visitors' FOR UPDATE;

-- All that finds the rows, but for the exact moment, is in the index. In a plan for any arguments the planner takes a range of
-- days to be one row in two hundred. With occurred_at in the place of the day a small change of the statistics made it read
-- all of a partition's primary key beside the index: 12 ms with 265,000 events, where this takes 0.1.
DROP INDEX analytics.event_contact_idx;
CREATE INDEX event_contact_idx ON analytics.event (specialist_id, day)
    WHERE type = 'contact_view' AND excluded IS NULL;

-- Of a partition that was vacuumed while it was empty the planner takes reading all of it to be quickest, and keeps to that.
ALTER FUNCTION analytics.contact_types(text, date, date, text) SET enable_seqscan = off;
$run_0020_contact_index$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('0020_contact_index', 'b38ea288d94d9a08d418fcba98a4b54c903ce8910d5f0ffe2dfe137156a54b0a');
        RAISE NOTICE 'applied 0020_contact_index';
    ELSIF checksum_applied <> 'b38ea288d94d9a08d418fcba98a4b54c903ce8910d5f0ffe2dfe137156a54b0a' THEN
        RAISE EXCEPTION 'the migration 0020_contact_index was changed after it had been applied: restore the file';
    END IF;

    EXECUTE $outcome_view$
-- The view analytics.outcome (specialist_id, kind, occurred_at) over those of the site's tables that are there. Every
-- `migrate` ends with this, because the site may have got one more. A view that somebody made otherwise is left alone.
-- Locks: the view, and only if it changes; of the site's tables nothing that their users would feel (ACCESS SHARE).
DO $create_outcome_view$
DECLARE
    present text[];
    definition text;
BEGIN
    -- The migration that this belongs to is not applied, or whoever migrates owns nothing here.
    IF to_regprocedure('analytics.missing_outcome_tables()') IS NULL OR NOT EXISTS (
        SELECT FROM pg_namespace WHERE nspname = 'analytics' AND pg_has_role(nspowner, 'USAGE')
    ) THEN
        RETURN;
    END IF;

    -- "createdAt" as it is: a timestamp in UTC, which the site's indexes know.
    SELECT coalesce(array_agg(name), '{}'),
           coalesce(string_agg(
               format('SELECT %I AS specialist_id, %L::text AS kind, "createdAt" AS occurred_at FROM %s', specialist, kind, site),
               ' UNION ALL '),
               'SELECT NULL::text AS specialist_id, NULL::text AS kind, NULL::timestamp AS occurred_at WHERE false')
    INTO present, definition
    FROM (
        VALUES ('ConsultationRequest', 'specialistProfileId', 'consultation_request'),
               ('Order', 'specialistProfileId', 'order'),
               ('Review', 'specialistId', 'review')
    ) AS source (name, specialist, kind)
    CROSS JOIN to_regclass(quote_ident(name)) AS site
    WHERE (SELECT count(*) FROM pg_attribute
           WHERE attrelid = site AND NOT attisdropped AND attname IN (specialist, 'createdAt')) = 2;

    IF to_regclass('analytics.outcome') IS NOT NULL THEN
        IF NOT analytics.missing_outcome_tables() && present THEN
            RETURN;  -- it reads all that there is, or is not ours
        END IF;
        DROP VIEW analytics.outcome;
    END IF;
    EXECUTE 'CREATE VIEW analytics.outcome AS ' || definition;
    EXECUTE format('COMMENT ON VIEW analytics.outcome IS %L',
                   'Made by migrate, which keeps it up for as long as its checksum is ' || analytics.outcome_view_checksum());
END
$create_outcome_view$
$outcome_view$;

    EXECUTE $watch_days$
-- Have the days watched for changes, if they are not: the daily table may have been made anew. Locks, only then: the table
-- (SHARE ROW EXCLUSIVE) and the row of packing, until the migrations are committed.
DO $watch$
BEGIN
    IF to_regprocedure('analytics.watch_days()') IS NOT NULL THEN  -- as soon as the migration that makes it is applied
        PERFORM analytics.watch_days();
    END IF;
END
$watch$
$watch_days$;

    EXECUTE $grants$
-- The rights of the role "analytics_worker", where there is one: what the worker does all day, and nothing else. It owns
-- nothing, so it can neither change nor drop a table; it reads no column of the site but the specialists' ids. What it has
-- written to the ledger, into dead letters and about losses it cannot take back. Every `migrate` ends with this.
-- Locks: the objects' rows in the catalogue, until the migrations are committed; nobody's reading or writing.
DO $grant_worker_rights$
DECLARE
    role CONSTANT text := 'analytics_worker';
    statement text;
BEGIN
    -- There is no such role, or whoever migrates has nothing to give away (it could be that very role).
    IF NOT EXISTS (
        SELECT FROM pg_roles, pg_namespace
        WHERE rolname = role AND nspname = 'analytics' AND pg_has_role(nspowner, 'USAGE')
    ) THEN
        RETURN;
    END IF;

    FOR statement IN
        SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role)
        UNION ALL
        SELECT DISTINCT format('GRANT USAGE ON SCHEMA %s TO %I', relnamespace::regnamespace, role)
        FROM pg_class
        WHERE oid = '"SpecialistAnalyticsDaily"'::regclass OR relnamespace = 'analytics'::regnamespace
        UNION ALL
        SELECT format('GRANT SELECT ("id") ON "SpecialistProfile" TO %I', role)
        UNION ALL
        SELECT format('GRANT SELECT, INSERT, UPDATE ON "SpecialistAnalyticsDaily" TO %I', role)
        UNION ALL
        -- Every table and view of ours. A partition needs nothing: the right to the ledger is asked of the ledger.
        SELECT format('GRANT %s ON %s TO %I',
                      CASE
                          WHEN relname = 'migration' OR relkind IN ('v', 'm') THEN 'SELECT'
                          WHEN relname ~ '^(event|dead_letter|continuity_event)' THEN 'SELECT, INSERT'
                          WHEN relname IN ('packed_month', 'changed_month') THEN 'SELECT, INSERT, UPDATE, DELETE'
                          ELSE 'SELECT, INSERT, UPDATE'
                      END,
                      oid::regclass, role)
        FROM pg_class
        WHERE relnamespace = 'analytics'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition
        UNION ALL
        SELECT format('GRANT UPDATE (state) ON %s TO %I', attrelid::regclass, role)
        FROM pg_attribute
        WHERE attrelid = to_regclass('analytics.dead_letter') AND attname = 'state'
        UNION ALL
        SELECT format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA analytics TO %I', role)
    LOOP
        BEGIN
            EXECUTE statement;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE NOTICE 'not the owner, so not done: %', statement;
        END;
    END LOOP;
END
$grant_worker_rights$
$grants$;
END
$apply_to_production$;
