-- Let no batch of any stream be committed until the end of this transaction: who assigns views would overwrite what it adds.
-- The table and not its rows, so that a stream whose position is only now begun waits too.
--
-- Locks: SHARE ROW EXCLUSIVE on the positions, which waits for the batch in hand, and which the next batch waits for before
-- it looks at anything. Reading them stays free. Taken before any daily row, as the live path does.
LOCK TABLE analytics.stream_position IN SHARE ROW EXCLUSIVE MODE
