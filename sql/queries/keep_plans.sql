-- Plan a prepared statement once, and not for each set of arguments. Only on a connection of our own: a pooler gives a
-- connection's settings to the next client too. There the process is another one than was told when it was opened.
-- Locks nothing.
SELECT set_config('plan_cache_mode', 'force_generic_plan', false) WHERE pg_backend_pid() = %(process)s
