-- Everything that `python -m worker migrate` does, for psql -f or for pasting into a query console. It is one statement,
-- and so one transaction: all of it or nothing. It can be run again at any time; what is applied is left alone. (psql
-- tells of an error with its exit code only when asked: psql -v ON_ERROR_STOP=1 -f.)
-- Made from sql/migrations/ by `make sql`; do not edit it.
DO $apply_to_production$
DECLARE
    checksum_applied text;
BEGIN
    EXECUTE $begin$
{{begin}}
$begin$;
{{migrations}}

    EXECUTE $outcome_view$
{{outcome_view}}
$outcome_view$;

    EXECUTE $watch_days$
{{watch_days}}
$watch_days$;

    EXECUTE $grants$
{{grants}}
$grants$;
END
$apply_to_production$;
