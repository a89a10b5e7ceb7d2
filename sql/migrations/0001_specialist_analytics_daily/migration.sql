-- The table of the daily rows, exactly as Prisma writes it for the site's model. Where the table is already there, nothing
-- is touched. Locks: for a moment "SpecialistProfile" (SHARE ROW EXCLUSIVE), to which the foreign key points.
DO $migration$
BEGIN
    IF to_regclass('"SpecialistProfile"') IS NULL THEN
        RAISE EXCEPTION 'the table "SpecialistProfile" is missing: it belongs to the site, whose migrations must run first';
    END IF;

    IF to_regclass('"SpecialistAnalyticsDaily"') IS NOT NULL THEN
        RETURN;
    END IF;

    -- CreateTable
    CREATE TABLE "SpecialistAnalyticsDaily" (
        "id" TEXT NOT NULL,
        "specialistId" TEXT NOT NULL,
        "date" DATE NOT NULL,
        "profileViews" INTEGER NOT NULL DEFAULT 0,
        "contactViews" INTEGER NOT NULL DEFAULT 0,
        "consultationRequests" INTEGER NOT NULL DEFAULT 0,
        "orders" INTEGER NOT NULL DEFAULT 0,
        "reviews" INTEGER NOT NULL DEFAULT 0,
        "sources" JSONB,
        "conversionRateProfileToContact" DOUBLE PRECISION NOT NULL DEFAULT 0,
        "conversionRateContactToRequest" DOUBLE PRECISION NOT NULL DEFAULT 0,
        "conversionRateRequestToOrder" DOUBLE PRECISION NOT NULL DEFAULT 0,
        "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
        "updatedAt" TIMESTAMP(3) NOT NULL,

        CONSTRAINT "SpecialistAnalyticsDaily_pkey" PRIMARY KEY ("id")
    );

    -- CreateIndex
    CREATE INDEX "SpecialistAnalyticsDaily_specialistId_date_idx" ON "SpecialistAnalyticsDaily"("specialistId", "date");

    -- CreateIndex
    CREATE INDEX "SpecialistAnalyticsDaily_date_idx" ON "SpecialistAnalyticsDaily"("date");

    -- CreateIndex
    CREATE UNIQUE INDEX "SpecialistAnalyticsDaily_specialistId_date_key" ON "SpecialistAnalyticsDaily"("specialistId", "date");

    -- AddForeignKey
    ALTER TABLE "SpecialistAnalyticsDaily" ADD CONSTRAINT "SpecialistAnalyticsDaily_specialistId_fkey" FOREIGN KEY ("specialistId") REFERENCES "SpecialistProfile"("id") ON DELETE CASCADE ON UPDATE CASCADE;
END
$migration$;
