"""Do the tests pass with other versions of Redis, PostgreSQL and Python than `make test` has? `make compat`."""
