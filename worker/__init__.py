"""The analytics worker: profile-view and contact-view events, from a Redis stream to one PostgreSQL row a day.

An event's way reads in this order: `events` (the contract) → `stream` (Redis) → `pipeline` (one micro-batch)
→ `store` (PostgreSQL), with the statement itself in `sql/queries/commit_batch.sql`.
"""
