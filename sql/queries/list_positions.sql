-- Where every stream stands, with its books. A run's own positions are no stream's. Locks nothing.
SELECT stream, epoch, last_id, ordinal, entries_read, counted, duplicates, excluded, dead_lettered, lost,
       halted_at::timestamptz(0) AS halted_at, halted_because,
       extract(epoch FROM now() - committed_at)::double precision AS committed_s_ago
FROM analytics.stream_position
WHERE epoch <> 'run'
ORDER BY stream
