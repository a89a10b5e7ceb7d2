-- What was applied, with the checksum of its text.
SELECT name, checksum FROM analytics.migration
