-- Remember that a migration was applied.
INSERT INTO analytics.migration (name, checksum) VALUES (%(name)s, %(checksum)s)
