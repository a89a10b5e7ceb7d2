-- Whether "SpecialistProfile" has the two totals, and whether this role may read and write them. Locks nothing.
SELECT quote_ident(current_user) AS role,
       count(*) = 2 AS there,
       coalesce(bool_and(has_column_privilege(attrelid, attnum, 'SELECT')
                         AND has_column_privilege(attrelid, attnum, 'UPDATE')), false) AS writable
FROM pg_attribute
WHERE attrelid = to_regclass('"SpecialistProfile"') AND attname IN ('profileViews', 'contactViews')
  AND NOT attisdropped AND atttypid IN ('integer'::regtype, 'bigint'::regtype)
