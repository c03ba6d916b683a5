-- depends: 0012.events_by_log

-- Events that were sent again from their dead letters, with the day of their first row: sent again days later they lie on
-- another day, where their key meets no other, and would be there twice.
create table redriven_events (
    application_id uuid not null,
    event_id uuid not null,
    day date not null,
    primary key (application_id, event_id)
);
