-- Let no further statement of this transaction take longer. Transaction-level, so it works through PgBouncer.
-- Locks nothing.
SELECT set_config('statement_timeout', %(milliseconds)s::text, true)
