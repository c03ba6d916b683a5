-- depends: 0002.archive
-- Routes are published in parts: what changed, then the application's version.

-- Which database this is, and how often the log had to be brought in line with it: also in the log, to be compared.
create table control_plane (
    is_only boolean primary key default true check (is_only),
    control_plane_id uuid not null default gen_random_uuid(),
    epoch bigint not null default 1
);
insert into control_plane default values;

alter table applications
    -- of the change that brought `routes_version`, and of the version that was published last
    add column change_id uuid not null default gen_random_uuid(),
    add column published_change_id uuid,
    -- up to which version the parts in the log are complete; behind `published_version`: all have to be published
    add column parts_version bigint not null default 0,
    -- who publishes this application now, and until when it may: only one does, so that versions reach the log in order
    add column publishing_by uuid,
    add column publishing_until timestamptz;

alter table event_types add column changed_version bigint not null default 0;
alter table application_secrets add column changed_version bigint not null default 0;
alter table subscriptions
    add column created_version bigint not null default 0,
    -- deliveries matched with an older version are cancelled
    add column cancelled_before_version bigint not null default 0;

create index event_types_by_change on event_types (application_id, changed_version);
create index application_secrets_by_change on application_secrets (application_id, changed_version);
create index subscriptions_by_change on subscriptions (application_id, changed_version);

-- What every subscription selected in which versions of its application's routes: a dispatch says which version an
-- event met, so that it can be told later why it was delivered, or was not. `to_version`: the first one without it.
create table subscription_versions (
    subscription_id uuid not null,
    application_id uuid not null,
    from_version bigint not null,
    to_version bigint,
    is_enabled boolean not null,
    event_types text[] not null,
    labels text not null,
    target_method text not null,
    target_url text not null,
    changed_at timestamptz not null default now(),
    primary key (subscription_id, from_version)
);
create index subscription_versions_of_application on subscription_versions (application_id, from_version);

insert into subscription_versions
    (subscription_id, application_id, from_version, is_enabled, event_types, labels, target_method, target_url)
select subscription_id, application_id, changed_version, is_enabled, event_types, labels, target_method, target_url
from subscriptions where deleted_at is null;
