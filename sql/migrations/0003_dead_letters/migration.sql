-- What becomes of dead letters, and the circuit breaker of each stream.
-- Locks: stream_position and dead_letter for a moment (ACCESS EXCLUSIVE; no row is rewritten).

-- The breaker's window counts the latest entries, older ones fading out; the commit that reads on keeps it.
ALTER TABLE analytics.stream_position
    ADD COLUMN window_entries double precision NOT NULL DEFAULT 0,
    ADD COLUMN window_bad     double precision NOT NULL DEFAULT 0,
    ADD COLUMN halted_at      timestamptz,                        -- NULL: entries are being counted
    ADD COLUMN halted_because text,
    ADD COLUMN waived_until   text             NOT NULL DEFAULT '0-0'; -- entries up to this one pass, however many are bad

ALTER TABLE analytics.dead_letter
    ADD COLUMN state text NOT NULL DEFAULT 'buried'
        CONSTRAINT a_known_state CHECK (state IN ('buried', 'requeued', 'discarded'));

-- Who did what with a dead letter.
CREATE TABLE analytics.dead_letter_action (
    id             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dead_letter_id bigint      NOT NULL REFERENCES analytics.dead_letter (id) ON DELETE CASCADE,
    happened_at    timestamptz NOT NULL DEFAULT now(),
    action         text        NOT NULL,               -- requeued, discarded
    operator       text        NOT NULL,
    stream         text,                               -- where it was sent again
    entry_id       text                                -- and its id there
);
CREATE INDEX dead_letter_action_letter_idx ON analytics.dead_letter_action (dead_letter_id);
