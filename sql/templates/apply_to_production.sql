-- Everything that `python -m worker migrate` does, for psql -f or for pasting into a query console. It is one statement,
-- and so one transaction: all of it or nothing. It can be run again at any time; what is applied is left alone.
-- Made from sql/migrations/ by `make sql`; do not edit it.
DO $apply_to_production$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('analytics.migrate'));
    CREATE SCHEMA IF NOT EXISTS analytics;
    CREATE TABLE IF NOT EXISTS analytics.migration (
        name       text        NOT NULL PRIMARY KEY,
        checksum   text        NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    );
{{migrations}}
END
$apply_to_production$;
