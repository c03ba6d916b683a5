-- depends: 0240.dead_letter_traces

-- Requests that deliver said are open, until their attempt is in the archive. A few thousand rows at most: those of
-- the last moments, and what is over is deleted with the next ones.
create table open_requests (
    attempt_id uuid primary key,
    started_at_us bigint not null,
    until_us bigint not null
);
