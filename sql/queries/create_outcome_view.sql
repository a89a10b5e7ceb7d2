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
