-- Which of these specialists exist. Locks nothing.
SELECT "id" FROM "SpecialistProfile" WHERE "id" = ANY (%(ids)s::text[])
