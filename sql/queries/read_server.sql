-- What PostgreSQL says about itself, as far as any role may know it; data_directory is NULL to most. Locks nothing.
SELECT split_part(current_setting('server_version'), ' ', 1) AS version,
       current_setting('transaction_read_only')::boolean AS read_only,  -- a replica, or a session that may only read
       pg_backend_pid() AS backend_pid,
       current_setting('max_connections')::integer
           - current_setting('superuser_reserved_connections')::integer AS connections,
       (SELECT sum(numbackends)::integer FROM pg_stat_database) AS connected,
       pg_database_size(current_database()) AS database_bytes,
       pg_size_bytes(current_setting('max_wal_size')) AS wal_bytes,
       (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS data_directory
