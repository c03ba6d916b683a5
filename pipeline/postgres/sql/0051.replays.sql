-- depends: 0002.archive

-- Attempts that a person asked for. Beside the archive, which is never updated: an attempt of a delivery that had succeeded
-- has no failed attempt before it that would stand for it.
create table replays (
    day date not null,
    application_id uuid not null,
    event_id uuid not null,
    delivery_id uuid not null,
    subscription_id uuid not null,
    event_type text not null,
    appended_at_us bigint not null,
    attempt_number integer not null,
    attempt_id uuid not null,
    asked_at_us bigint not null,
    primary key (application_id, event_id, delivery_id, attempt_number)
);
create index replays_newest on replays (application_id, asked_at_us, attempt_id);
create index replays_of_subscription on replays (subscription_id, asked_at_us, attempt_id);
create index replays_attempt on replays (attempt_id);
create index replays_by_day on replays (day);
