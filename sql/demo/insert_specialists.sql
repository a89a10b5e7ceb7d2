-- Everybody who is seen in the demo.
INSERT INTO "SpecialistProfile" ("id")
SELECT unnest(%(ids)s::text[])
