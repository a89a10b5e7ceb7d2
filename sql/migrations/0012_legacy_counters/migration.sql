-- What the counters said that the site kept in Redis before there were events. Locks nothing that was there before.

-- One row a counter of a day: the greatest number ever seen of it, for counters only grow, and one that went away was right
-- until then. The baseline is made of these, so that reading a counter twice, or after it grew, adds nothing twice.
CREATE TABLE analytics.legacy_counter (
    date          date                   NOT NULL,     -- as the key has it: a day of UTC
    specialist_id text                   NOT NULL,
    type          analytics.event_type   NOT NULL,
    spelling      text                   NOT NULL,     -- of the source, with the colon before it; '' where the key has none
    source        analytics.event_source NOT NULL,     -- what that counts under
    value         integer                NOT NULL CHECK (value >= 0),
    PRIMARY KEY (date, specialist_id, type, spelling)
);

-- The same of the totals of all days, with which the counters are compared.
CREATE TABLE analytics.legacy_total (
    specialist_id text                 NOT NULL,
    type          analytics.event_type NOT NULL,
    spelling      text                 NOT NULL,       -- of the contact's type, with the colon before it; '' for all together
    value         bigint               NOT NULL CHECK (value >= 0),
    PRIMARY KEY (specialist_id, type, spelling)
);

-- Each total beside the sum of its parts: of the days, and, for contact views, of the contacts' types.
CREATE VIEW analytics.legacy_check AS
    SELECT name, specialist_id, coalesce(parts, 0) AS parts, coalesce(total, 0) AS total
    FROM (
        SELECT type || 's' AS name, specialist_id, sum(value)::bigint AS parts
        FROM analytics.legacy_counter
        GROUP BY type, specialist_id
        UNION ALL
        SELECT 'contact_types', specialist_id, sum(value)::bigint
        FROM analytics.legacy_total
        WHERE spelling <> ''
        GROUP BY specialist_id
    ) AS part
    FULL JOIN (
        SELECT type || 's' AS name, specialist_id, value AS total
        FROM analytics.legacy_total
        WHERE spelling = ''
        UNION ALL
        SELECT 'contact_types', specialist_id, value
        FROM analytics.legacy_total
        WHERE spelling = '' AND type = 'contact_view'
    ) AS whole USING (name, specialist_id);
