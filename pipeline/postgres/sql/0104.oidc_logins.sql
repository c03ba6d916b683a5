-- depends: 0103.telling

-- Logins by the OpenID provider that have begun. What a browser brings back is looked up once.
create table oidc_logins (
    state_hash bytea primary key,
    nonce text not null,
    code_verifier text not null,
    expires_at timestamptz not null
);
create index oidc_logins_by_time on oidc_logins (expires_at);
