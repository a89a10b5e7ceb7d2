-- Forget refreshes that ended long ago; returns how many. Locks those that go.
SELECT analytics.prune_refreshes()
