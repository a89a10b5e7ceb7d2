-- Plain indexes of the daily table on exactly the columns of its unique one, in any number of them. Locks nothing.
SELECT plain.indexrelid::regclass::text AS index
FROM pg_index AS plain
JOIN pg_index AS single ON single.indrelid = plain.indrelid AND single.indkey::text = plain.indkey::text
WHERE plain.indrelid = to_regclass('"SpecialistAnalyticsDaily"')
  AND single.indisunique AND NOT plain.indisunique
  AND plain.indpred IS NULL AND plain.indexprs IS NULL
ORDER BY 1
