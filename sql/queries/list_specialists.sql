-- The next specialists of the site behind one of them. Locks nothing.
SELECT "id" FROM "SpecialistProfile" WHERE "id" > %(after)s ORDER BY "id" LIMIT %(limit)s
