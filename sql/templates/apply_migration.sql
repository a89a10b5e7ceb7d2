
    IF NOT EXISTS (SELECT FROM analytics.migration WHERE name = '{{name}}') THEN
        EXECUTE $run_{{name}}$
{{text}}
$run_{{name}}$;
        INSERT INTO analytics.migration (name, checksum) VALUES ('{{name}}', '{{checksum}}');
    END IF;
