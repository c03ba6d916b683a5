-- depends: 0101.event_usage

-- Who changed what: written by triggers, so that no change is without a row, also none that is made by hand. Columns that
-- may hold secrets are named when they change, and not shown.
create table audit_log (
    audit_id bigint generated always as identity primary key,
    changed_at timestamptz not null default clock_timestamp(),
    -- user, service_token, application_secret, master_key, anonymous; system: Hookline itself, or a person with psql
    actor_kind text not null,
    actor_id text,
    address text,
    organization_id uuid,
    application_id uuid,
    resource text not null,
    resource_id text not null,
    action text not null check (action in ('created', 'changed', 'deleted')),
    -- by column: before and after
    changes jsonb not null
);
create index audit_log_of_organization on audit_log (organization_id, audit_id);
create index audit_log_of_application on audit_log (application_id, audit_id) where application_id is not null;
create index audit_log_by_time on audit_log (changed_at);

create function refuse_audit_change() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and old.changed_at < now() - interval '30 days' then
        return old;
    end if;
    raise exception 'the audit log is append-only; rows may be deleted after 30 days';
end
$$;
create trigger audit_log_is_kept before update or delete on audit_log
    for each row execute function refuse_audit_change();
create trigger audit_log_is_not_emptied before truncate on audit_log
    for each statement execute function refuse_audit_change();

-- Arguments: the resource's name, the column of its id, columns to show, columns whose contents are not shown.
create function note_change() returns trigger language plpgsql as $$
declare
    was jsonb := case when tg_op = 'INSERT' then '{}' else to_jsonb(old) end;
    is_now jsonb := case when tg_op = 'DELETE' then '{}' else to_jsonb(new) end;
    whole jsonb := case when tg_op = 'DELETE' then to_jsonb(old) else to_jsonb(new) end;
    actor jsonb := coalesce(nullif(current_setting('hookline.actor', true), ''), '{}')::jsonb;
    noted jsonb := '{}';
    name text;
    owner uuid := (whole ->> 'organization_id')::uuid;
begin
    foreach name in array string_to_array(tg_argv[2], ' ') loop
        if was -> name is distinct from is_now -> name then
            noted := noted || jsonb_build_object(name, jsonb_build_array(was -> name, is_now -> name));
        end if;
    end loop;
    foreach name in array string_to_array(tg_argv[3], ' ') loop
        if was -> name is distinct from is_now -> name then
            noted := noted || jsonb_build_object(name, '(not shown)'::text);
        end if;
    end loop;
    if noted = '{}' and tg_op = 'UPDATE' then
        return null;
    end if;
    if owner is null and whole ? 'application_id' then
        select organization_id into owner from applications where application_id = (whole ->> 'application_id')::uuid;
    end if;
    insert into audit_log (
        actor_kind, actor_id, address, organization_id, application_id, resource, resource_id, action, changes
    ) values (
        coalesce(actor ->> 'kind', 'system'),
        actor ->> 'id',
        actor ->> 'address',
        owner,
        (whole ->> 'application_id')::uuid,
        tg_argv[0],
        left(whole ->> tg_argv[1], 200),
        case
            when tg_op = 'INSERT' then 'created'
            when tg_op = 'DELETE' or (was ->> 'deleted_at' is null and is_now ->> 'deleted_at' is not null) then 'deleted'
            else 'changed'
        end,
        noted
    );
    return null;
end
$$;

create trigger note_organizations after insert or update of name, deleted_at or delete on organizations
    for each row execute function note_change('organization', 'organization_id', 'name deleted_at', '');
create trigger note_applications after insert or update of name, deleted_at or delete on applications
    for each row execute function note_change('application', 'application_id', 'name deleted_at', '');
create trigger note_application_secrets after insert or update of name, deleted_at or delete on application_secrets
    -- its name is all by which a person knows it: the token is secret, and its hash says nothing
    for each row execute function note_change('application_secret', 'created_at', 'name deleted_at', '');
create trigger note_event_types after insert or update of is_active or delete on event_types
    for each row execute function note_change('event_type', 'name', 'is_active', '');
create trigger note_subscriptions after insert
    or update of is_enabled, event_types, description, metadata, labels, target_method, target_url, target_headers,
        delivery, previous_valid_until, disabled_reason, deleted_at
    or delete on subscriptions
    for each row execute function note_change(
        'subscription', 'subscription_id',
        'is_enabled event_types labels target_method previous_valid_until disabled_reason deleted_at',
        'description metadata target_url target_headers delivery'
    );
create trigger note_service_tokens after insert
    or update of name, scopes, application_ids, expires_at, deleted_at or delete on service_tokens
    for each row execute function note_change(
        'service_token', 'token_id', 'name scopes application_ids expires_at deleted_at', ''
    );
create trigger note_members after insert or update of role or delete on members
    for each row execute function note_change('member', 'user_id', 'role', '');
create trigger note_users after insert
    or update of email, first_name, last_name, password_hash, email_verified_at or delete on users
    for each row execute function note_change(
        'user', 'user_id', 'email email_verified_at', 'first_name last_name password_hash'
    );
