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
