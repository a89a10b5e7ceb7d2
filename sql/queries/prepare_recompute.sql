-- Until the end of this transaction: memory for the sums of a large day, no compiling of a query that is over before it would
-- pay, and no waiting for a client that freezes while live counting waits for us. Locks nothing.
SELECT set_config('work_mem', '64MB', true), set_config('jit', 'off', true),
       set_config('idle_in_transaction_session_timeout', '10s', true)
