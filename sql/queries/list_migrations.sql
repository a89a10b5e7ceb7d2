-- What was applied, with the checksum of its text. Locks nothing.
SELECT name, checksum FROM analytics.migration
