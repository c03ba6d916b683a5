-- The archive's tables as all migrations together make them, made again where one is missing: for `hookline archive
-- rebuild`. What they mean is said in the migrations; a test compares the two.

create table if not exists events (
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
    primary key (application_id, event_id, day)
) partition by range (day);
alter table events alter column payload set storage external;
create index if not exists events_newest on events (application_id, received_at_us, event_id);

create table if not exists dispatches (
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
    primary key (application_id, event_id, day)
) partition by range (day);

create table if not exists deliveries (
    day date not null,
    application_id uuid not null,
    event_id uuid not null,
    delivery_id uuid not null,
    subscription_id uuid not null,
    event_type text not null,
    appended_at_us bigint not null,
    matched_at_us bigint not null,
    first_attempt_id uuid not null,
    primary key (application_id, event_id, delivery_id, day)
) partition by range (day);
create index if not exists deliveries_newest on deliveries (application_id, matched_at_us, first_attempt_id);
create index if not exists deliveries_of_subscription on deliveries (subscription_id, matched_at_us, first_attempt_id);
create index if not exists deliveries_first_attempt on deliveries (first_attempt_id);

create table if not exists attempts (
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
    primary key (application_id, event_id, delivery_id, attempt_number, day)
) partition by range (day);
alter table attempts alter column response_body set storage external;
create index if not exists attempts_newest on attempts (application_id, finished_at_us, next_attempt_id) where outcome <> 'succeeded';
create index if not exists attempts_of_subscription on attempts (subscription_id, finished_at_us, next_attempt_id)
where outcome <> 'succeeded';
create index if not exists attempts_next_attempt on attempts (next_attempt_id) where outcome <> 'succeeded';

create table if not exists dead_letters (
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
    traceparent text,
    tracestate text,
    source_headers text,
    primary key (dead_id, day)
) partition by range (day);
alter table dead_letters alter column source_value set storage external;
create index if not exists dead_letters_of_event on dead_letters (application_id, event_id) where event_id is not null;
create index if not exists dead_letters_newest on dead_letters (application_id, died_at_us, dead_id);

create table if not exists events_default partition of events default;
create table if not exists dispatches_default partition of dispatches default;
create table if not exists deliveries_default partition of deliveries default;
create table if not exists attempts_default partition of attempts default;
create table if not exists dead_letters_default partition of dead_letters default;

create table if not exists archive_offsets (
    topic text not null,
    partition integer not null,
    next_offset bigint not null,
    owner uuid not null,
    from_offset bigint not null default -1,
    records bigint not null default 0,
    vacant bigint not null default 0,
    appended_at_us bigint,
    moved_at timestamptz,
    topic_id text,
    primary key (topic, partition),
    constraint archive_offsets_add_up check (
        records >= 0 and vacant >= 0
        and next_offset = case records + vacant when 0 then from_offset else greatest(from_offset, 0) + records + vacant end
    )
);
create or replace function check_archive_position() returns trigger language plpgsql as $$
begin
    if new.topic <> old.topic or new.partition <> old.partition
        or (new.next_offset <> old.next_offset and new.from_offset <> old.next_offset) then
        raise exception 'the position of % [%] would go from % to %, which continues from %: what lies between would be lost',
            old.topic, old.partition, old.next_offset, new.next_offset, new.from_offset;
    end if;
    return new;
end
$$;
create or replace trigger archive_offsets_follow before update on archive_offsets
for each row execute function check_archive_position();

create table if not exists archive_detached (
    table_name text not null,
    day date not null,
    detached_at timestamptz not null default clock_timestamp(),
    restored_at timestamptz,
    primary key (table_name, day)
);

create index if not exists events_by_log on events (application_id, appended_at_us, event_offset);

create table if not exists redriven_events (
    application_id uuid not null,
    event_id uuid not null,
    day date not null,
    primary key (application_id, event_id)
);

create table if not exists attempt_minutes (
    application_id uuid not null,
    subscription_id uuid not null,
    minute bigint not null,
    outcome text not null,
    error_class text not null,
    status_class integer not null,
    attempts bigint not null,
    took_us bigint not null,
    latency bigint[] not null,
    primary key (application_id, subscription_id, minute, outcome, error_class, status_class)
) with (fillfactor = 60);
create index if not exists attempt_minutes_of_application on attempt_minutes (application_id, minute);
create index if not exists attempt_minutes_oldest on attempt_minutes using brin (minute);
create or replace trigger note_letters_to_tell after insert on dead_letters
for each row when (new.delivery_id is not null and new.subscription_id is not null and new.application_id is not null)
execute function note_letter_to_tell();
create or replace trigger note_attempts_to_tell after insert on attempts
for each row when (new.outcome = 'failed' and new.attempt_number = 4 and new.next_due_at_us is not null)
execute function note_attempt_to_tell();
