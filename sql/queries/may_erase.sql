-- Whether this role may erase; the worker's own may not, because what it has written it cannot take back. Locks nothing.
SELECT has_table_privilege('analytics.event', 'UPDATE') AND has_table_privilege('analytics.event', 'DELETE')
   AND has_table_privilege('analytics.dead_letter', 'UPDATE') AND has_table_privilege('analytics.dead_letter', 'DELETE')
   AND has_table_privilege('"SpecialistAnalyticsDaily"', 'DELETE')
