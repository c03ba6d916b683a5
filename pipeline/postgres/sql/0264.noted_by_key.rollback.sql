create or replace function note_letter_to_tell() returns trigger language plpgsql as $$
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
create or replace function note_attempt_to_tell() returns trigger language plpgsql as $$
begin
    if new.finished_at_us > (extract(epoch from now()) - 86400) * 1000000 and exists (
        select from subscriptions where application_id = new.application_id and is_enabled and deleted_at is null
        and event_types @> array['hookline.attempt.failing']
    ) and not exists (
        select from subscriptions where subscription_id = new.subscription_id
        and event_types @> array['hookline.attempt.failing']
    ) then
        insert into attempts_to_tell values (
            new.attempt_id, new.application_id, new.subscription_id, new.delivery_id, new.event_id, new.attempt_number,
            new.error_class, new.response_status, new.finished_at_us, new.next_due_at_us
        ) on conflict do nothing;
    end if;
    return null;
end
$$;
