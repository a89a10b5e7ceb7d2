-- Begin a run, unless one of the same kind with the same arguments is open: then it returns no row. Locks its new row, and
-- waits for whoever begins the same in this very moment.
INSERT INTO analytics.run (kind, arguments, operator)
VALUES (%(kind)s, %(arguments)s, %(operator)s)
ON CONFLICT (kind, md5(arguments::text)) WHERE state IN ('queued', 'running') DO NOTHING
RETURNING id
