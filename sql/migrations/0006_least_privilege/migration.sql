-- What a worker needs that runs under a role of its own, which owns nothing: see sql/queries/grant_worker_rights.sql.
-- Locks: nothing but the function's row in the catalogue.

-- To attach a partition one must own the ledger. So the function does it in the owner's name, for whom the owner lets,
-- and finds its names where no caller can put others in their place.
ALTER FUNCTION analytics.create_partition(date) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE EXECUTE ON FUNCTION analytics.create_partition(date) FROM PUBLIC;
