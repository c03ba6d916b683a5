-- depends: 0102.audit_log

-- What owners are still to be told by events of ours.
alter table endpoint_states
    -- the `failing_since_us` that the owner was warned of; 0: none
    add column warned_since_us bigint not null default 0;
create index endpoint_states_to_warn on endpoint_states (failing_since_us)
    where failing_since_us > 0 and warned_since_us <> failing_since_us;
create index endpoint_states_warned on endpoint_states (subscription_id) where warned_since_us > 0;

create table changes_to_tell (
    audit_id bigint primary key references audit_log
);

-- Only changes that a subscription selects: an event without such a subscription would only take up room.
create function note_change_to_tell() returns trigger language plpgsql as $$
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
create trigger note_changes_to_tell after insert on audit_log
    for each row when (new.application_id is not null and new.resource in ('application', 'subscription'))
    execute function note_change_to_tell();
