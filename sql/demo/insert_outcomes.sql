-- Requests, orders and reviews of one specialist, as the site would write them.
WITH outcome AS (
    SELECT kind, gen_random_uuid()::text AS id, to_timestamp(at_ms / 1000.0) AT TIME ZONE 'UTC' AS at
    FROM unnest(%(kinds)s::text[], %(at_ms)s::bigint[]) AS given (kind, at_ms)
),
requests AS (
    INSERT INTO "ConsultationRequest" ("id", "specialistProfileId", "createdAt")
    SELECT id, %(specialist)s, at FROM outcome WHERE kind = 'consultation_request'
),
orders AS (
    INSERT INTO "Order" ("id", "specialistProfileId", "createdAt")
    SELECT id, %(specialist)s, at FROM outcome WHERE kind = 'order'
)
INSERT INTO "Review" ("id", "specialistId", "createdAt")
SELECT id, %(specialist)s, at FROM outcome WHERE kind = 'review'
