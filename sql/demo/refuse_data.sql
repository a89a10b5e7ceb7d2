-- Fails if this database holds anything that the demo could spoil or count. Locks nothing. (A block, because a statement
-- that names a missing table fails.)
DO $refuse$
BEGIN
    IF to_regclass('"SpecialistProfile"') IS NOT NULL THEN
        IF EXISTS (SELECT FROM "SpecialistProfile") THEN
            RAISE EXCEPTION 'its "SpecialistProfile" has rows';
        END IF;
    END IF;
    IF to_regclass('analytics.stream_position') IS NOT NULL THEN
        IF EXISTS (SELECT FROM analytics.stream_position) THEN
            RAISE EXCEPTION 'it remembers the position of a stream';
        END IF;
    END IF;
END
$refuse$
