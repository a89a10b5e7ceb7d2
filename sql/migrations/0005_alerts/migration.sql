-- Alerts: what is wrong now and what was, and whether people have been told. Locks nothing that was there before.
CREATE TABLE analytics.alert (
    id            bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          text             NOT NULL,                           -- lag, silence, dead_letters, …
    started_at    timestamptz      NOT NULL,
    last_seen_at  timestamptz      NOT NULL,                           -- when somebody saw for the last time that it holds
    ended_at      timestamptz,                                         -- NULL: it is not over
    text          text             NOT NULL,                           -- what is wrong, as it was at its worst
    value         double precision NOT NULL,                           -- the same as a number
    threshold     double precision NOT NULL,                           -- what it is held against
    start_sent_at timestamptz,                                         -- NULL: nobody has been told yet
    end_sent_at   timestamptz,
    retry_at      timestamptz      NOT NULL DEFAULT '-infinity'        -- until then somebody else is telling it, or it waits
);
-- However many processes watch, an alert begins once.
CREATE UNIQUE INDEX alert_open_key ON analytics.alert (name) WHERE ended_at IS NULL;
CREATE INDEX alert_untold_idx ON analytics.alert (id) WHERE end_sent_at IS NULL;
