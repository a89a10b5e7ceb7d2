-- How much a run has erased, by table. Locks nothing.
SELECT what, rows FROM analytics.erasure WHERE run = %(run)s AND rows > 0 ORDER BY what
