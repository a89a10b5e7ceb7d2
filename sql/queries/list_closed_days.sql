-- The closed days from a date on that were held against their events, and those that a day of the ledger which was sealed
-- of late touches, whatever the zone. Locks nothing.
SELECT date
FROM analytics.closed_day
WHERE not_compared IS NULL
  AND (date >= %(since)s
       OR EXISTS (SELECT FROM analytics.sealed_day
                  WHERE sealed_at > now() - interval '1 week' AND date BETWEEN day - 1 AND day + 1))
ORDER BY date
