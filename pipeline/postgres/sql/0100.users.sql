-- depends: 0050.service_tokens

-- People, what they are in organizations, and their sessions. Additive: a gateway of the version before does not know them.
create table users (
    user_id uuid primary key,
    email text not null,
    -- in lower case: one user for an address
    email_key text not null unique,
    first_name text not null,
    last_name text not null,
    -- argon2id in PHC form; null: no password was set
    password_hash text,
    email_verified_at timestamptz,
    -- who they are at the OpenID provider
    oidc_issuer text,
    oidc_subject text,
    created_at timestamptz not null default now(),
    last_login_at timestamptz,
    unique (oidc_issuer, oidc_subject)
);

create table members (
    organization_id uuid not null references organizations,
    user_id uuid not null references users on delete cascade,
    role text not null check (role in ('viewer', 'editor')),
    created_at timestamptz not null default now(),
    primary key (organization_id, user_id)
);
create index members_of_user on members (user_id);

create table sessions (
    session_id uuid primary key,
    user_id uuid not null references users on delete cascade,
    -- SHA-256 of the token that renews the session, and of the one before it
    refresh_hash bytea not null unique,
    previous_refresh_hash bytea,
    refresh_expires_at timestamptz not null,
    created_at timestamptz not null default now(),
    refreshed_at timestamptz not null default now()
);
create index sessions_of_user on sessions (user_id, created_at);
create index sessions_by_previous on sessions (previous_refresh_hash) where previous_refresh_hash is not null;

create table access_tokens (
    token_hash bytea primary key,
    session_id uuid not null references sessions on delete cascade,
    expires_at timestamptz not null
);
create index access_tokens_of_session on access_tokens (session_id);

-- What links in e-mails carry.
create table mail_tokens (
    token_hash bytea primary key,
    user_id uuid not null references users on delete cascade,
    purpose text not null check (purpose in ('verify', 'reset')),
    expires_at timestamptz not null
);
create index mail_tokens_of_user on mail_tokens (user_id);

alter table service_tokens
    -- null: not limited
    add column scopes text[],
    add column application_ids uuid[],
    add column expires_at timestamptz;
