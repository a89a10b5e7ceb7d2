-- Which of the site's tables of outcomes exist, and whether a day of each can be found by an index. Locks nothing.
SELECT name AS "table",
       to_regclass(quote_ident(name)) IS NOT NULL AS "exists",
       EXISTS (
           SELECT FROM pg_index
           JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
           WHERE indrelid = to_regclass(quote_ident(name)) AND attname = 'createdAt'
             AND indisvalid AND indpred IS NULL
       ) AS indexed
FROM unnest(ARRAY ['ConsultationRequest', 'Order', 'Review']) AS name
