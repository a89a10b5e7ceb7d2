-- Wait until nobody else refreshes the profiles' totals, and say which dates are closed. Until the end of this transaction:
-- memory for the sums, and no long waiting for the site, whose next query would wait behind us.
-- Locks: the row of closed_totals; nobody but refreshes of totals wants it.
SELECT closed_before, set_config('work_mem', '64MB', true), set_config('jit', 'off', true),
       set_config('lock_timeout', '1s', true), set_config('idle_in_transaction_session_timeout', '10s', true)
FROM analytics.closed_totals
FOR UPDATE
