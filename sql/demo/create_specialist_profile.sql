-- What of the site's table the worker looks at; where the table is there already, it stays as it is.
CREATE TABLE IF NOT EXISTS "SpecialistProfile" (
    "id"           text    NOT NULL PRIMARY KEY,
    "profileViews" integer NOT NULL DEFAULT 0,
    "contactViews" integer NOT NULL DEFAULT 0
)
