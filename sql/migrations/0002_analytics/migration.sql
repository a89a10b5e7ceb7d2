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
