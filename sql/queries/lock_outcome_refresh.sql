-- Wait until nobody else refreshes outcomes: who comes later counts later, and so has the newer numbers. Until the end of
-- this transaction: memory for a large day, and no waiting for a client that freezes while live counting waits for us.
-- Locks: the row of outcome_refresh; nobody but refreshes wants it.
SELECT set_config('work_mem', '64MB', true), set_config('jit', 'off', true),
       set_config('idle_in_transaction_session_timeout', '10s', true)
FROM analytics.outcome_refresh
FOR UPDATE
