-- Whether this database was ever migrated. Locks nothing.
SELECT to_regclass('analytics.migration') IS NOT NULL
