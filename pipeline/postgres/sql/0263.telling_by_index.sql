-- depends: 0262.subscriptions_told_of_changes

-- As before, by the index: without it each change looked at all subscriptions of the application, and to delete an
-- application with ten thousand at ten thousand for each of them, which no statement has the time for.
create or replace function note_change_to_tell() returns trigger language plpgsql as $$
begin
    if exists (
        select from subscriptions where application_id = new.application_id
        -- the index has these alone
        and is_enabled and deleted_at is null and event_types && array[
            'hookline.application.created', 'hookline.application.changed', 'hookline.application.deleted',
            'hookline.subscription.created', 'hookline.subscription.changed', 'hookline.subscription.deleted'
        ]
        and event_types @> array['hookline.' || new.resource || '.' || new.action]
    ) then
        insert into changes_to_tell values (new.audit_id);
    end if;
    return null;
end
$$;
