-- depends: 0100.users

-- How many events gateways accepted over HTTP, for daily quotas: added up by all of them, about once a second.
create table event_usage (
    application_id uuid not null,
    day date not null,
    amount bigint not null,
    primary key (application_id, day)
);
create index event_usage_by_day on event_usage (day);
