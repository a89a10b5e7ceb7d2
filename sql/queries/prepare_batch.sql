-- Memory for the sorts of a large batch, until the end of this transaction only (PgBouncer shares the connection).
-- Locks nothing.
SELECT set_config('work_mem', '64MB', true)
