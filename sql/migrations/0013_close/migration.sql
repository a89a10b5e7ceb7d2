-- Closing days, and what the clock had done. Locks nothing that was there before.

-- Days that are over: all that had reached Redis by their end is counted, and their rows were held against their events.
CREATE TABLE analytics.closed_day (
    date         date        NOT NULL PRIMARY KEY,     -- in the zone that held then
    closed_at    timestamptz NOT NULL DEFAULT now(),
    rows         integer     NOT NULL,                 -- daily rows that the date had
    differences  integer     NOT NULL,                 -- how many of them were not what the events say, and were put right
    not_compared text                                  -- why they could not be held against the events; NULL: they were
);

-- Daily rows of days that are over which were not what the events say, as they were and as they were made. Where all six
-- are the same, it was the rates.
CREATE TABLE analytics.day_difference (
    id                bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    found_at          timestamptz NOT NULL DEFAULT now(),
    date              date        NOT NULL,
    specialist_id     text        NOT NULL,
    has_profile_views integer,                         -- NULL: there was no row
    profile_views     integer     NOT NULL,
    has_contact_views integer,
    contact_views     integer     NOT NULL,
    has_sources       jsonb,
    sources           jsonb       NOT NULL
);
CREATE INDEX day_difference_date_idx ON analytics.day_difference (date);
CREATE INDEX day_difference_found_idx ON analytics.day_difference (found_at);

-- The last day such that it and every day before it, since the first, is closed; NULL: none is.
CREATE FUNCTION analytics.complete_through() RETURNS date
    LANGUAGE sql STABLE PARALLEL SAFE AS $complete_through$
    SELECT max(date)
    FROM (SELECT date, min(date) OVER () + (row_number() OVER (ORDER BY date))::integer - 1 AS without_a_gap
          FROM analytics.closed_day) AS closed
    WHERE date = without_a_gap
$complete_through$;

-- How each line of the schedule ran last. What ended stays until the next one ends, so that a line that fails is seen to
-- fail while it is tried again.
CREATE TABLE analytics.scheduled (
    name       text        NOT NULL PRIMARY KEY,
    begun_at   timestamptz NOT NULL,                   -- when it was last begun; without an end if that is after ended_at
    tick       timestamptz,                            -- the moment that the run that ended last was for
    started_at timestamptz,
    ended_at   timestamptz,
    result     jsonb,
    error      text                                    -- why it failed; NULL: it did not
) WITH (fillfactor = 50);
