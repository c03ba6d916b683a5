-- depends: 0241.open_requests

-- Named schedules of retries, which subscriptions of the application can refer to.
create table retry_schedules (
    retry_schedule_id uuid primary key,
    application_id uuid not null references applications,
    name text not null,
    -- seconds after the n-th failure
    retry_delays_s double precision[] not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index retry_schedules_of_application on retry_schedules (application_id, created_at);

alter table subscriptions add column retry_schedule_id uuid references retry_schedules;
create index subscriptions_of_retry_schedule on subscriptions (retry_schedule_id) where retry_schedule_id is not null;

create trigger note_retry_schedules after insert or update of name, retry_delays_s or delete on retry_schedules
    for each row execute function note_change('retry_schedule', 'retry_schedule_id', 'name retry_delays_s', '');
drop trigger note_subscriptions on subscriptions;
create trigger note_subscriptions after insert
    or update of is_enabled, event_types, description, metadata, labels, target_method, target_url, target_headers,
        delivery, previous_valid_until, disabled_reason, deleted_at, retry_schedule_id
    or delete on subscriptions
    for each row execute function note_change(
        'subscription', 'subscription_id',
        'is_enabled event_types labels target_method previous_valid_until disabled_reason deleted_at retry_schedule_id',
        'description metadata target_url target_headers delivery'
    );
