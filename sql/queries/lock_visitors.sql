-- Wait until nobody else refreshes visitors: who comes later counts later, and so has the newer numbers. Until the end of
-- this transaction: memory for a large day, no compiling of a query that is over before it would pay, no sorting of texts where
-- hashing takes half the time (the planner expects a two-hundredth of the rows), and one processor, for others serve people.
-- Locks: a row of refreshed_up_to; nobody but refreshes of visitors wants it.
SELECT set_config('work_mem', '64MB', true), set_config('jit', 'off', true),
       set_config('enable_sort', 'off', true), set_config('max_parallel_workers_per_gather', '0', true),
       set_config('idle_in_transaction_session_timeout', '30s', true)
FROM analytics.refreshed_up_to
WHERE what = 'visitors'
FOR UPDATE
