-- Unique visitors of each specialist and date. Locks nothing that was there before.

-- Whoever has a known visitor on a date has a row. Its number is exact, and kept when the ledger does not hold the date any
-- more; the sketches of several dates merge into an estimate for all of them, because days must not be added up.
CREATE TABLE analytics.daily_visitors (
    date          date    NOT NULL,                        -- in the zone below
    specialist_id text    NOT NULL,
    visitors      integer NOT NULL CHECK (visitors >= 0),  -- different ones among the events that count
    events        integer NOT NULL CHECK (events >= 0),    -- the events of the ledger that the number is of
    time_zone     text    NOT NULL,
    sketch        bytea   NOT NULL,                        -- an Apache DataSketches HLL sketch of the same visitors
    PRIMARY KEY (date, specialist_id)
) WITH (fillfactor = 85);

-- What the books of all streams together had counted when something that follows from the counted was last brought up to it:
-- while that stands, there is nothing to do. Who refreshes locks the row, so that of two the later one has the newer numbers.
CREATE TABLE analytics.refreshed_up_to (
    what    text   NOT NULL PRIMARY KEY,
    counted bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO analytics.refreshed_up_to (what, counted) VALUES ('visitors', -1);
