-- depends: 0251.audit_every_column

-- What a person has sent again changes no row of theirs, and is noted all the same: who asked for it, and of what.
alter table audit_log drop constraint audit_log_action_check;
alter table audit_log add constraint audit_log_action_check
    check (action in ('created', 'changed', 'deleted', 'replayed', 'retried', 'redriven', 'tested')) not valid;

create function note_request(resource text, resource_id text, application uuid, action text, details jsonb)
returns void language sql as $$
    insert into audit_log (
        actor_kind, actor_id, address, organization_id, application_id, resource, resource_id, action, changes
    )
    select
        coalesce(actor ->> 'kind', 'system'),
        actor ->> 'id',
        actor ->> 'address',
        (select organization_id from applications where application_id = application),
        application,
        resource,
        resource_id,
        action,
        details
    from (select coalesce(nullif(current_setting('hookline.actor', true), ''), '{}')::jsonb as actor) as asking
$$;
