-- Write down what was done with dead letters, each with the entry that it was sent again as, if it was. Locks their rows.
WITH settled AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(streams)s::text[], %(entry_ids)s::text[]) AS settled (id, stream, entry_id)
),
marked AS (
    UPDATE analytics.dead_letter SET state = %(state)s
    WHERE id = ANY (%(ids)s)
)
INSERT INTO analytics.dead_letter_action (dead_letter_id, action, operator, stream, entry_id)
SELECT id, %(state)s, %(operator)s, stream, entry_id
FROM settled
