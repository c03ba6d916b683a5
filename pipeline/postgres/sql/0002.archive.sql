-- depends: 0001.control_plane

-- The archive: what happened, written once and never updated. What is pending or waiting is worked out when reading.
--
-- Every table is partitioned by `day`: the date (UTC) of the broker's append time of the event record, which is the same
-- at every reading of the log, so that a row written again after a crash meets its own key. Keys end with `day` because
-- PostgreSQL demands it of a unique index on a partitioned table; they start with (application_id, event_id) because
-- that is what is looked up, and because a key that rises with time costs less to insert than a random one.
-- Days are created ahead by the archive process; the default partitions catch a row whose day has none, so that no
-- clock can stop the archive. Retention drops whole partitions.
--
-- Times are bigint microseconds since the epoch, UTC: every value a record can carry fits, so that none can be refused.
-- Maps (labels, headers …) are JSON as text: nothing looks into them, and text takes the escaped NUL that jsonb refuses.
-- Bodies are zstd frames where `*_compressed` says so; EXTERNAL keeps PostgreSQL from trying to compress them again.

create table events (
    day date not null,
    application_id uuid not null,
    event_id uuid not null,
    event_type text not null,
    payload bytea not null,
    payload_compressed boolean not null,
    payload_content_type text not null,
    labels text not null,
    metadata text not null,
    occurred_at_us bigint not null,
    received_at_us bigint not null,
    appended_at_us bigint not null,
    ip text,
    event_partition integer not null,
    event_offset bigint not null,
    -- one event and its look-up
    primary key (application_id, event_id, day)
) partition by range (day);
alter table events alter column payload set storage external;
-- an application's newest events
create index events_newest on events (application_id, received_at_us, event_id);

-- One row per event the matcher has matched, also when it matched nothing.
create table dispatches (
    day date not null,
    application_id uuid not null,
    event_id uuid not null,
    event_type text not null,
    event_partition integer not null,
    event_offset bigint not null,
    appended_at_us bigint not null,
    received_at_us bigint not null,
    matched_at_us bigint not null,
    routes_version bigint not null,
    matches_count integer not null,
    -- has this event been matched?
    primary key (application_id, event_id, day)
) partition by range (day);

-- One row per match: the intention to bring an event to a subscription. It stands for the delivery's first attempt,
-- made or not; the n-th one (n > 1) stands on the failed attempt before it.
create table deliveries (
    day date not null,
    application_id uuid not null,
    event_id uuid not null,
    delivery_id uuid not null,
    subscription_id uuid not null,
    event_type text not null,
    appended_at_us bigint not null,
    matched_at_us bigint not null,
    first_attempt_id uuid not null,
    -- an event's deliveries
    primary key (application_id, event_id, delivery_id, day)
) partition by range (day);
-- an application's attempts, newest first, page by page
create index deliveries_newest on deliveries (application_id, matched_at_us, first_attempt_id);
-- the same of one subscription, which may be one of ten thousand
create index deliveries_of_subscription on deliveries (subscription_id, matched_at_us, first_attempt_id);
-- an attempt, or its response, by its id
create index deliveries_first_attempt on deliveries (first_attempt_id);

create table attempts (
    day date not null,
    application_id uuid not null,
    event_id uuid not null,
    delivery_id uuid not null,
    attempt_number integer not null,
    attempt_id uuid not null,
    subscription_id uuid not null,
    event_type text not null,
    appended_at_us bigint not null,
    outcome text not null,
    error_class text,
    error_detail text,
    queued_at_us bigint not null,
    started_at_us bigint not null,
    finished_at_us bigint not null,
    request_method text not null,
    request_url text not null,
    request_headers text not null,
    response_status integer,
    response_headers text not null,
    response_body bytea not null,
    response_compressed boolean not null,
    timings_us text not null,
    next_due_at_us bigint,
    next_attempt_id uuid not null,
    source_topic text not null,
    source_partition integer not null,
    source_offset bigint not null,
    -- the n-th attempt of a delivery
    primary key (application_id, event_id, delivery_id, attempt_number, day)
) partition by range (day);
alter table attempts alter column response_body set storage external;
-- The second and later attempts, as above the first ones. Partial: a success, which most attempts are, pays for none.
create index attempts_newest on attempts (application_id, finished_at_us, next_attempt_id) where outcome <> 'succeeded';
create index attempts_of_subscription on attempts (subscription_id, finished_at_us, next_attempt_id)
where outcome <> 'succeeded';
create index attempts_next_attempt on attempts (next_attempt_id) where outcome <> 'succeeded';

create table dead_letters (
    day date not null,
    dead_id uuid not null,
    reason text not null,
    detail text not null,
    source_topic text not null,
    source_partition integer not null,
    source_offset bigint not null,
    source_appended_at_us bigint not null,
    source_key bytea,
    source_value bytea,
    source_value_compressed boolean not null,
    application_id uuid,
    subscription_id uuid,
    delivery_id uuid,
    event_id uuid,
    died_at_us bigint not null,
    primary key (dead_id, day)
) partition by range (day);
alter table dead_letters alter column source_value set storage external;
-- has this event been refused? (a read that waits for its dispatch must not wait for ever)
create index dead_letters_of_event on dead_letters (application_id, event_id) where event_id is not null;

create table events_default partition of events default;
create table dispatches_default partition of dispatches default;
create table deliveries_default partition of deliveries default;
create table attempts_default partition of attempts default;
create table dead_letters_default partition of dead_letters default;

-- How far the log is archived: the truth about positions, changed in the transaction that writes the rows.
-- A process that is assigned a partition makes itself its owner; the one before it can then write nothing any more.
create table archive_offsets (
    topic text not null,
    partition integer not null,
    next_offset bigint not null,
    owner uuid not null,
    primary key (topic, partition)
);
