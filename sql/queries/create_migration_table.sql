-- Which migrations were applied, and with what text.
CREATE TABLE IF NOT EXISTS analytics.migration (
    name       text        NOT NULL PRIMARY KEY,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
