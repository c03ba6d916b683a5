-- depends: 0001.control_plane

-- Tokens that act within one organization. Additive: a gateway of the version before does not know them and refuses them.
create table service_tokens (
    token_id uuid primary key,
    organization_id uuid not null references organizations,
    -- SHA-256 of the token: enough to recognise it
    token_hash bytea not null unique,
    name text not null,
    -- the token itself, sealed, because lists show it
    key_id text not null,
    sealed bytea not null,
    created_at timestamptz not null default now(),
    deleted_at timestamptz
);
create index service_tokens_of_organization on service_tokens (organization_id, created_at);
