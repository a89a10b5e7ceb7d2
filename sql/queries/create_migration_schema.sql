-- The worker's own schema; Prisma does not look into it.
CREATE SCHEMA IF NOT EXISTS analytics
