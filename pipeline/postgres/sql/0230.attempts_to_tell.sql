-- depends: 0223.organization_quotas

-- Deliveries that go on failing, of which owners are still to be told by events of ours: at their fourth failed attempt,
-- while there are more to come. Noted with the attempt, where a subscription names the type; not those of such a
-- subscription, and not what failed long ago (the archive may be written again).
create table attempts_to_tell (
    attempt_id uuid primary key,
    application_id uuid not null,
    subscription_id uuid not null,
    delivery_id uuid not null,
    event_id uuid not null,
    attempts integer not null,
    error_class text,
    response_status integer,
    failed_at_us bigint not null,
    next_attempt_at_us bigint not null
);

create index subscriptions_told_of_attempts on subscriptions (application_id)
    where is_enabled and deleted_at is null and event_types @> array['hookline.attempt.failing'];

create function note_attempt_to_tell() returns trigger language plpgsql as $$
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
create trigger note_attempts_to_tell after insert on attempts
    for each row when (new.outcome = 'failed' and new.attempt_number = 4 and new.next_due_at_us is not null)
    execute function note_attempt_to_tell();
