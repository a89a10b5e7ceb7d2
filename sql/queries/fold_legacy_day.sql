-- Assign the legacy baseline of one date: of each column the greater of what the counters say and of what is known as legacy
-- already, because both are about the same views. Known already is the baseline, and what daily rows have beyond the
-- formula, if the ledger can have no part in the date, whatever the zone: the site made them of counters since. Where the
-- ledger can have one, the formula is right and the row is not. Counters that are given beside those that are noted count
-- too; without "save" nothing is written, and the answer is what would be.
--
-- Locks: the baseline rows that change. Wants lock_positions before it in the same transaction, and recompute_day after it.
WITH counted AS (
    SELECT specialist_id,
           coalesce(sum(value) FILTER (WHERE type = 'profile_view'), 0) AS profile_views,
           coalesce(sum(value) FILTER (WHERE type = 'contact_view'), 0) AS contact_views,
           coalesce(sum(value) FILTER (WHERE type = 'profile_view' AND source = 'catalog'), 0) AS catalog,
           coalesce(sum(value) FILTER (WHERE type = 'profile_view' AND source = 'search'), 0) AS search,
           coalesce(sum(value) FILTER (WHERE type = 'profile_view' AND source = 'direct'), 0) AS direct,
           coalesce(sum(value) FILTER (WHERE type = 'profile_view' AND source = 'other'), 0) AS other
    FROM (
        SELECT specialist_id, type, source, max(value)::bigint AS value
        FROM (
            SELECT specialist_id, type, spelling, source, value
            FROM analytics.legacy_counter
            WHERE date = %(date)s
            UNION ALL
            SELECT *
            FROM unnest(
                %(specialist_id)s::text[], %(type)s::analytics.event_type[], %(spelling)s::text[],
                %(source)s::analytics.event_source[], %(value)s::integer[]
            )
        ) AS seen
        GROUP BY specialist_id, type, spelling, source
    ) AS counter
    GROUP BY specialist_id
),
wrong AS MATERIALIZED (
    SELECT specialist_id,
           has_profile_views - profile_views AS profile_gap,  -- NULL: there is no row
           has_contact_views - contact_views AS contact_gap,
           analytics.source_views(has_sources, 'catalog') - analytics.source_views(sources, 'catalog') AS catalog_gap,
           analytics.source_views(has_sources, 'search') - analytics.source_views(sources, 'search') AS search_gap,
           analytics.source_views(has_sources, 'direct') - analytics.source_views(sources, 'direct') AS direct_gap,
           analytics.source_views(has_sources, 'other') - analytics.source_views(sources, 'other') AS other_gap
    FROM analytics.wrong_rows(%(date)s, %(time_zone)s)
),
made_by_the_site AS (
    SELECT specialist_id,
           greatest(profile_gap, 0) AS profile_views, greatest(contact_gap, 0) AS contact_views,
           greatest(catalog_gap, 0) AS catalog, greatest(search_gap, 0) AS search,
           greatest(direct_gap, 0) AS direct, greatest(other_gap, 0) AS other
    FROM wrong
    WHERE (profile_gap > 0 OR contact_gap > 0)
      AND NOT EXISTS (
          SELECT
          FROM generate_series(
              %(date)s::timestamp - interval '1 day', %(date)s::timestamp + interval '1 day', interval '1 day'
          ) AS utc_day
          WHERE to_regclass('analytics.event_' || to_char(utc_day, 'YYYYMMDD')) IS NOT NULL
             OR EXISTS (SELECT FROM analytics.sealed_day WHERE day = utc_day::date)
      )
),
part AS (
    SELECT specialist_id, wrong.specialist_id IS NOT NULL AS is_wrong,
           profile_gap, contact_gap, catalog_gap, search_gap, direct_gap, other_gap,
           coalesce(counted.profile_views, 0) AS counted_profile_views,
           coalesce(counted.contact_views, 0) AS counted_contact_views,
           coalesce(counted.catalog, 0) AS counted_catalog,
           coalesce(counted.search, 0) AS counted_search,
           coalesce(counted.direct, 0) AS counted_direct,
           coalesce(counted.other, 0) AS counted_other,
           coalesce(baseline.profile_views, 0) AS had_profile_views,
           coalesce(baseline.contact_views, 0) AS had_contact_views,
           coalesce(baseline.catalog, 0) AS had_catalog,
           coalesce(baseline.search, 0) AS had_search,
           coalesce(baseline.direct, 0) AS had_direct,
           coalesce(baseline.other, 0) AS had_other
    FROM counted
    FULL JOIN (SELECT * FROM analytics.baseline WHERE date = %(date)s AND origin = 'legacy') AS baseline
        USING (specialist_id)
    FULL JOIN wrong USING (specialist_id)
    WHERE EXISTS (SELECT FROM "SpecialistProfile" AS specialist WHERE specialist."id" = specialist_id)
),
greater AS (
    SELECT part.*,
           had_profile_views::bigint + coalesce(site.profile_views, 0) AS known_profile_views,
           greatest(counted_contact_views, had_contact_views::bigint + coalesce(site.contact_views, 0)) AS contact_views,
           greatest(counted_catalog, had_catalog::bigint + coalesce(site.catalog, 0)) AS catalog,
           greatest(counted_search, had_search::bigint + coalesce(site.search, 0)) AS search,
           greatest(counted_direct, had_direct::bigint + coalesce(site.direct, 0)) AS direct,
           greatest(counted_other, had_other::bigint + coalesce(site.other, 0)) AS other
    FROM part
    LEFT JOIN made_by_the_site AS site USING (specialist_id)
),
summed AS (
    SELECT *, greatest(known_profile_views, catalog + search + direct + other) AS profile_views
    FROM greater
),
folded AS MATERIALIZED (
    SELECT *,
           profile_views < 1000000000 AND contact_views < 1000000000 AS fits,  -- as analytics.source_views has it
           (profile_views, contact_views, catalog, search, direct, other)
               <> (had_profile_views, had_contact_views, had_catalog, had_search, had_direct, had_other) AS is_new
    FROM summed
),
saved AS (
    INSERT INTO analytics.baseline
        (date, specialist_id, origin, profile_views, contact_views, catalog, search, direct, other)
    SELECT %(date)s, specialist_id, 'legacy', profile_views, contact_views, catalog, search, direct, other
    FROM folded
    WHERE is_new AND fits AND %(save)s
    ORDER BY specialist_id
    ON CONFLICT (date, specialist_id, origin) DO UPDATE SET
        profile_views = excluded.profile_views,
        contact_views = excluded.contact_views,
        catalog = excluded.catalog,
        search = excluded.search,
        direct = excluded.direct,
        other = excluded.other
),
problem AS (
    SELECT reason, specialist_id, of_profile, of_contact
    FROM folded, LATERAL (VALUES
        ('too_large', NOT fits, profile_views, contact_views),
        ('more_than_counters', fits AND (profile_views > counted_profile_views OR contact_views > counted_contact_views),
         profile_views - counted_profile_views, contact_views - counted_contact_views),
        ('row_had_more', fits AND (profile_gap > profile_views - had_profile_views
                                   OR contact_gap > contact_views - had_contact_views),
         greatest(profile_gap - profile_views + had_profile_views, 0),
         greatest(contact_gap - contact_views + had_contact_views, 0))
    ) AS possible (reason, holds, of_profile, of_contact)
    WHERE holds
)
SELECT count(*) FILTER (
           WHERE CASE
               WHEN is_wrong AND is_new AND fits THEN  -- a row that the site made is perhaps right from now on
                   profile_gap IS DISTINCT FROM profile_views - had_profile_views
                   OR contact_gap IS DISTINCT FROM contact_views - had_contact_views
                   OR catalog_gap <> catalog - had_catalog OR search_gap <> search - had_search
                   OR direct_gap <> direct - had_direct OR other_gap <> other - had_other
               ELSE is_wrong OR (is_new AND fits)
               END
       ) AS rows,
       coalesce(sum(counted_catalog) FILTER (WHERE fits), 0)::bigint AS catalog,
       coalesce(sum(counted_search) FILTER (WHERE fits), 0)::bigint AS search,
       coalesce(sum(counted_direct) FILTER (WHERE fits), 0)::bigint AS direct,
       coalesce(sum(counted_other) FILTER (WHERE fits), 0)::bigint AS other,
       coalesce(sum(counted_contact_views) FILTER (WHERE fits), 0)::bigint AS contact_views,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(reason, specialist_id, of_profile, of_contact)
                                  ORDER BY reason, specialist_id), '[]')
        FROM problem) AS problems
FROM folded
