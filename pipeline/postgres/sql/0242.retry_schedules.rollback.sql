drop trigger note_subscriptions on subscriptions;
alter table subscriptions drop column retry_schedule_id;
create trigger note_subscriptions after insert
    or update of is_enabled, event_types, description, metadata, labels, target_method, target_url, target_headers,
        delivery, previous_valid_until, disabled_reason, deleted_at
    or delete on subscriptions
    for each row execute function note_change(
        'subscription', 'subscription_id',
        'is_enabled event_types labels target_method previous_valid_until disabled_reason deleted_at',
        'description metadata target_url target_headers delivery'
    );
drop table retry_schedules;
