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
