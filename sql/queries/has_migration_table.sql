-- Whether this database was ever migrated.
SELECT to_regclass('analytics.migration') IS NOT NULL
