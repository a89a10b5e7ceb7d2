-- The first and the last date that anything is kept of, NULL if there is nothing at all. Locks nothing.
SELECT first_date, last_date FROM analytics.kept_dates()
