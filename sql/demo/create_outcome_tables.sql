-- The site's tables that requests, orders and reviews are counted from; where one is there already, it stays as it is.
DO $tables$
BEGIN
    CREATE TABLE IF NOT EXISTS "ConsultationRequest" (
        "id"                  text         NOT NULL PRIMARY KEY,
        "specialistProfileId" text,
        "createdAt"           timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
    );
    CREATE TABLE IF NOT EXISTS "Order" (
        "id"                  text         NOT NULL PRIMARY KEY,
        "specialistProfileId" text,
        "createdAt"           timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
    );
    CREATE TABLE IF NOT EXISTS "Review" (
        "id"           text         NOT NULL PRIMARY KEY,
        "specialistId" text,
        "createdAt"    timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
    );
END
$tables$
