-- Write down how far it is packed. Wants lock_packing before it in the same transaction.
-- Locks the row of packing, as that one did.
UPDATE analytics.packing SET
    time_zone = %(time_zone)s,
    through = %(through)s,
    packing_through = %(packing_through)s,
    after_specialist = %(after_specialist)s
