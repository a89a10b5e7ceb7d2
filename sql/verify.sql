-- Checks that "SpecialistAnalyticsDaily" is what the worker writes and Prisma reads: a row for each check.
-- For psql -f, for pasting into a query console, and for `python -m worker verify`. PostgreSQL 15 and newer.
--
-- Whether a row can be written is found out by writing one, and SELECT cannot take it back. So there are two statements.
-- The first writes in a block that always ends with an error, which undoes it; what became of it stays as a setting of
-- the session. The second reads that setting, empties it and shows everything. Nothing is left behind.
--
-- Locks: as any insert, for a moment. Names without a schema are looked up in the search_path, as everywhere here.

DO $try_to_write$
DECLARE
    specialist text;
BEGIN
    specialist := (SELECT "id" FROM "SpecialistProfile" LIMIT 1);
    INSERT INTO "SpecialistAnalyticsDaily"
        ("id", "specialistId", "date", "profileViews", "contactViews", "consultationRequests", "orders", "reviews",
         "sources", "conversionRateProfileToContact", "conversionRateContactToRequest", "conversionRateRequestToOrder",
         "createdAt", "updatedAt")
    VALUES
        (gen_random_uuid()::text, coalesce(specialist, ''), date 'epoch', 0, 0, 0, 0, 0,
         jsonb '{}', float8 '0', float8 '0', float8 '0',
         now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC')
    ON CONFLICT ("specialistId", "date") DO UPDATE SET "updatedAt" = excluded."updatedAt";
    RAISE SQLSTATE 'UNDO1';
EXCEPTION
    WHEN SQLSTATE 'UNDO1' THEN
        PERFORM set_config('analytics.try_to_write', 'written and rolled back', false);
    WHEN OTHERS THEN
        -- The foreign key is looked at last. Without a specialist its refusal is the right end.
        PERFORM set_config('analytics.try_to_write', CASE
            WHEN specialist IS NULL AND SQLSTATE = '23503'
            THEN 'written and rolled back, up to the foreign key, for there is no specialist yet'
            ELSE 'refused: ' || SQLERRM
        END, false);
END
$try_to_write$;

WITH expected (place, kind, name, definition) AS (VALUES
    ( 1, 'table', 'SpecialistProfile', 'table'),
    ( 2, 'table', 'SpecialistAnalyticsDaily', 'table'),
    ( 3, 'column', 'id', 'text NOT NULL'),
    ( 4, 'column', 'specialistId', 'text NOT NULL'),
    ( 5, 'column', 'date', 'date NOT NULL'),
    ( 6, 'column', 'profileViews', 'integer NOT NULL DEFAULT 0'),
    ( 7, 'column', 'contactViews', 'integer NOT NULL DEFAULT 0'),
    ( 8, 'column', 'consultationRequests', 'integer NOT NULL DEFAULT 0'),
    ( 9, 'column', 'orders', 'integer NOT NULL DEFAULT 0'),
    (10, 'column', 'reviews', 'integer NOT NULL DEFAULT 0'),
    (11, 'column', 'sources', 'jsonb'),
    (12, 'column', 'conversionRateProfileToContact', 'double precision NOT NULL DEFAULT 0'),
    (13, 'column', 'conversionRateContactToRequest', 'double precision NOT NULL DEFAULT 0'),
    (14, 'column', 'conversionRateRequestToOrder', 'double precision NOT NULL DEFAULT 0'),
    (15, 'column', 'createdAt', 'timestamp(3) without time zone NOT NULL DEFAULT CURRENT_TIMESTAMP'),
    (16, 'column', 'updatedAt', 'timestamp(3) without time zone NOT NULL'),
    (17, 'index', 'SpecialistAnalyticsDaily_pkey', 'PRIMARY KEY btree (id)'),
    (18, 'index', 'SpecialistAnalyticsDaily_specialistId_date_key', 'UNIQUE btree ("specialistId", date)'),
    (19, 'index', 'SpecialistAnalyticsDaily_specialistId_date_idx', 'btree ("specialistId", date)'),
    (20, 'index', 'SpecialistAnalyticsDaily_date_idx', 'btree (date)'),
    (21, 'foreign key', 'SpecialistAnalyticsDaily_specialistId_fkey',
         'FOREIGN KEY ("specialistId") REFERENCES "SpecialistProfile"(id) ON UPDATE CASCADE ON DELETE CASCADE'),
    (22, 'write', 'a row can be written', 'written')
),
actual (kind, name, definition) AS (
    SELECT 'table', relname::text, CASE
               WHEN relkind NOT IN ('r', 'p') THEN 'not a table'
               WHEN relpersistence = 'u' THEN 'UNLOGGED table, which is empty after a crash'
               WHEN relpersistence = 't' THEN 'TEMPORARY table'
               ELSE 'table'
           END
    FROM pg_class
    WHERE oid IN (to_regclass('"SpecialistProfile"'), to_regclass('"SpecialistAnalyticsDaily"'))
    UNION ALL
    SELECT 'column', attname::text,
           format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END
           || coalesce(' DEFAULT ' || CASE pg_get_expr(adbin, adrelid) -- other words for the same, also for Prisma
                  WHEN 'now()' THEN 'CURRENT_TIMESTAMP'
                  WHEN '''0''::double precision' THEN '0'
                  WHEN '0.0' THEN CASE atttypid WHEN 'double precision'::regtype THEN '0' ELSE '0.0' END
                  ELSE pg_get_expr(adbin, adrelid)
              END, '')
    FROM pg_attribute
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = to_regclass('"SpecialistAnalyticsDaily"') AND attnum > 0 AND NOT attisdropped
    UNION ALL
    -- The server's own words name everything that matters: columns, order, expressions, NULLS NOT DISTINCT, WHERE.
    SELECT 'index', relname::text,
           CASE WHEN indisprimary THEN 'PRIMARY KEY ' WHEN indisunique THEN 'UNIQUE ' ELSE '' END
           || regexp_replace(regexp_replace(pg_get_indexdef(indexrelid), '^.*? USING ', ''), ' WITH \([^)]*\)', '')
           || CASE WHEN indimmediate THEN '' ELSE ' DEFERRABLE, which ON CONFLICT cannot use' END
           || CASE WHEN indisvalid THEN '' ELSE ' INVALID: it was not finished' END
    FROM pg_index
    JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid = to_regclass('"SpecialistAnalyticsDaily"')
    UNION ALL
    -- Here too: the target, both actions, DEFERRABLE, NOT VALID, NOT ENFORCED.
    SELECT 'foreign key', conname::text, pg_get_constraintdef(oid)
    FROM pg_constraint
    WHERE conrelid = to_regclass('"SpecialistAnalyticsDaily"') AND contype = 'f'
),
-- Arguments are evaluated from left to right: read it, then empty it.
attempt (outcome) AS MATERIALIZED (
    SELECT nullif(current_setting('analytics.try_to_write', true), set_config('analytics.try_to_write', '', false))
)
SELECT CASE kind WHEN 'write' THEN name ELSE kind || ' "' || name || '"' END AS "check",
       coalesce(CASE kind WHEN 'write' THEN outcome LIKE 'written%' ELSE actual.definition = expected.definition END,
                false) AS holds,
       CASE
           WHEN kind = 'write' THEN coalesce(outcome, 'unknown: both statements must run in one session')
           WHEN actual.definition IS NULL THEN 'missing'
           WHEN actual.definition = expected.definition THEN actual.definition
           ELSE actual.definition || '; expected: ' || expected.definition
       END AS detail
FROM expected
LEFT JOIN actual USING (kind, name)
CROSS JOIN attempt
ORDER BY place;
