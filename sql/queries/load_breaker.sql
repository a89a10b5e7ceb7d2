-- What a stream's circuit breaker knows. Locks nothing.
SELECT window_entries, window_bad, waived_until, halted_at IS NOT NULL AS halted
FROM analytics.stream_position
WHERE stream = %(stream)s
