-- Note up to which number in the books something was refreshed. Locks its row.
UPDATE analytics.refreshed_up_to SET counted = %(counted)s WHERE what = %(what)s
