-- Runs: what operators and the clock had done, with who, when, what, how far and how it ended. Locks nothing.

CREATE TYPE analytics.run_state AS ENUM ('queued', 'running', 'done', 'failed', 'stopped');

CREATE TABLE analytics.run (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text        NOT NULL,
    arguments  jsonb       NOT NULL,
    operator   text        NOT NULL,
    state      analytics.run_state NOT NULL DEFAULT 'queued',
    attempt    integer     NOT NULL DEFAULT 0,         -- the number of the execution that may go on with it: a fence
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    seen_at    timestamptz NOT NULL DEFAULT now(),     -- the last sign of life
    ended_at   timestamptz,
    done       bigint      NOT NULL DEFAULT 0,
    total      bigint,                                 -- NULL: not known
    deaths     integer     NOT NULL DEFAULT 0,         -- executions in a row that died without a step
    cursor     jsonb       NOT NULL DEFAULT '{}',      -- where the next step begins
    result     json        NOT NULL DEFAULT '{}',      -- what came of the steps so far; in its own order
    stopped_by text,                                   -- who asked for an end between two steps
    error      text
) WITH (fillfactor = 50);

-- The same thing is done once at a time: who asks for it again gets the run that is open.
CREATE UNIQUE INDEX run_open_key ON analytics.run (kind, md5(arguments::text)) WHERE state IN ('queued', 'running');

-- What a run found and could not use: a malformed key, an unknown specialist. Nothing that would have stopped it.
CREATE TABLE analytics.run_problem (
    run     bigint NOT NULL REFERENCES analytics.run,
    reason  text   NOT NULL,
    subject text   NOT NULL,
    PRIMARY KEY (run, reason, subject)
);
