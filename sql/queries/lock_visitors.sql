-- Wait until nobody else refreshes visitors: who comes later counts later, and so has the newer numbers. Until the end of
-- this transaction: memory for a large day, and no compiling of a query that is over before it would pay.
-- Locks: a row of refreshed_up_to; nobody but refreshes of visitors wants it.
SELECT set_config('work_mem', '64MB', true), set_config('jit', 'off', true),
       set_config('idle_in_transaction_session_timeout', '30s', true)
FROM analytics.refreshed_up_to
WHERE what = 'visitors'
FOR UPDATE
