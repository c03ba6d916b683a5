create or replace function note_change_to_tell() returns trigger language plpgsql as $$
begin
    if exists (
        select from subscriptions where application_id = new.application_id and is_enabled and deleted_at is null
        and event_types @> array['hookline.' || new.resource || '.' || new.action]
    ) then
        insert into changes_to_tell values (new.audit_id);
    end if;
    return null;
end
$$;
