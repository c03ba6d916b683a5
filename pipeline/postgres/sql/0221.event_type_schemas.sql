-- depends: 0220.attempt_minutes

-- What payloads of an event type have to be, and an example of one. `created_version`: the routes version that made or
-- activated it; 0: before this was noted. `schema_version`: which of its schemas applies, 0: none.
alter table event_types
    add column created_version bigint not null default 0,
    add column schema_mode text not null default 'off' check (schema_mode in ('off', 'warn', 'refuse')),
    add column schema_version integer not null default 0,
    add column example text;

create table event_type_schemas (
    application_id uuid not null,
    name text not null,
    schema_version integer not null,
    schema text not null, -- JSON Schema
    created_at timestamptz not null default now(),
    primary key (application_id, name, schema_version),
    foreign key (application_id, name) references event_types
);

drop trigger note_event_types on event_types;
create trigger note_event_types after insert or update of is_active, schema_mode, schema_version, example or delete on event_types
    for each row execute function note_change('event_type', 'name', 'is_active schema_mode schema_version', 'example');
