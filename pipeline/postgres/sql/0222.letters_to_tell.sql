-- depends: 0221.event_type_schemas

-- Deliveries that were given up, of which owners are still to be told by events of ours. Noted with the dead letter, where
-- a subscription names the type. Not those of such a subscription: its endpoint would be told of itself, without end. Nor
-- what died long ago: the archive may be written again from the log.
create table letters_to_tell (
    dead_id uuid primary key,
    application_id uuid not null,
    subscription_id uuid not null,
    delivery_id uuid not null,
    event_id uuid,
    reason text not null,
    died_at_us bigint not null
);

create index subscriptions_told_of_letters on subscriptions (application_id)
    where is_enabled and deleted_at is null and event_types @> array['hookline.delivery.exhausted'];

create function note_letter_to_tell() returns trigger language plpgsql as $$
begin
    if new.died_at_us > (extract(epoch from now()) - 86400) * 1000000 and exists (
        select from subscriptions where application_id = new.application_id and is_enabled and deleted_at is null
        and event_types @> array['hookline.delivery.exhausted']
    ) and not exists (
        select from subscriptions where subscription_id = new.subscription_id
        and event_types @> array['hookline.delivery.exhausted']
    ) then
        insert into letters_to_tell values (
            new.dead_id, new.application_id, new.subscription_id, new.delivery_id, new.event_id, new.reason, new.died_at_us
        ) on conflict do nothing;
    end if;
    return null;
end
$$;
create trigger note_letters_to_tell after insert on dead_letters
    for each row when (new.delivery_id is not null and new.subscription_id is not null and new.application_id is not null)
    execute function note_letter_to_tell();
