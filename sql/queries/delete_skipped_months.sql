-- Take away what was packed of months between those that are packed and one, before these are passed over: there is nothing
-- in them any more. It looks at the whole table, but that is only done once in each gap. Locks the rows, which only whoever
-- packs writes.
DELETE FROM analytics.packed_month WHERE month > coalesce(%(through)s, '-infinity'::date) AND month < %(month)s
