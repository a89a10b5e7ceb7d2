"""How fast and how lean: `make bench`. Speed is shown beside its target and never asserted; counts are."""
