-- The control plane: what the API configures. Everything here that decides about deliveries is published to the log
-- (`published_version` says how far), so that no stage ever has to ask this database a question.
--
-- Maps are JSON as text: nothing looks into them, and text takes the escaped NUL that jsonb refuses.

create table organizations (
    organization_id uuid primary key,
    name text not null,
    created_at timestamptz not null default now(),
    deleted_at timestamptz
);

create table applications (
    application_id uuid primary key,
    organization_id uuid not null references organizations,
    name text not null,
    -- raised by every change of what the log holds of this application
    routes_version bigint not null default 1,
    -- the last version that is in the log; behind `routes_version`: to be published
    published_version bigint not null default 0,
    created_at timestamptz not null default now(),
    deleted_at timestamptz
);
create index applications_of_organization on applications (organization_id, created_at);
create index applications_to_publish on applications (application_id) where published_version < routes_version;

create table application_secrets (
    -- SHA-256 of the token: enough to recognise it
    token_hash bytea primary key,
    application_id uuid not null references applications,
    name text,
    -- the token itself, sealed, because lists show it
    key_id text not null,
    sealed bytea not null,
    created_at timestamptz not null default now(),
    deleted_at timestamptz
);
create index application_secrets_of_application on application_secrets (application_id, created_at);

create table event_types (
    application_id uuid not null references applications,
    name text not null,
    service text not null,
    resource_type text not null,
    verb text not null,
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    primary key (application_id, name)
);

create table subscriptions (
    subscription_id uuid primary key,
    application_id uuid not null references applications,
    is_enabled boolean not null,
    event_types text[] not null,
    description text,
    metadata text not null,
    labels text not null,
    target_method text not null,
    target_url text not null,
    target_headers text not null,
    -- how to deliver, where its owner wants it otherwise than by default: JSON
    delivery text not null default '{}',
    -- the signing secret, sealed; and the one before it, which signs as well until its time is over
    key_id text not null,
    sealed bytea not null,
    previous_key_id text,
    previous_sealed bytea,
    previous_valid_until timestamptz,
    -- the key of the TLS client certificate, sealed
    tls_key_id text,
    tls_sealed bytea,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- deliveries of events appended before this are cancelled: set when it was disabled or deleted
    cancelled_before timestamptz,
    -- why we disabled it (gone, failing); null when its owner did, or when it is enabled
    disabled_reason text,
    deleted_at timestamptz,
    -- the application's routes_version that brought its last change
    changed_version bigint not null
);
create index subscriptions_of_application on subscriptions (application_id, created_at);

-- How endpoints are doing, as the http sink told last. Only shown, never asked by a stage.
create table endpoint_states (
    subscription_id uuid primary key,
    changed_at_us bigint not null,
    failing_since_us bigint not null,
    opened_until_us bigint not null,
    last_error text
);

-- Dead letters that were sent again. Beside the archive, which is never updated.
create table redrives (
    dead_id uuid primary key,
    redriven_at timestamptz not null default now()
);
create index redrives_by_time on redrives (redriven_at);
