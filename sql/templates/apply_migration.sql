
    checksum_applied := (SELECT checksum FROM analytics.migration WHERE name = '{{name}}');
    IF checksum_applied IS NULL THEN
        EXECUTE $run_{{name}}$
{{text}}
$run_{{name}}$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('{{name}}', '{{checksum}}');
        RAISE NOTICE 'applied {{name}}';
    ELSIF checksum_applied <> '{{checksum}}' THEN
        RAISE EXCEPTION 'the migration {{name}} was changed after it had been applied: restore the file';
    END IF;
