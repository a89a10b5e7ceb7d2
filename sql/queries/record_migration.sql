-- Remember that a migration was applied. Locks the new row only.
INSERT INTO analytics.migration (name, checksum) VALUES (%(name)s, %(checksum)s)
