create or replace trigger note_subscriptions after insert
    or update of is_enabled, event_types, description, metadata, labels, target_method, target_url, target_headers,
        delivery, previous_valid_until, disabled_reason, deleted_at, retry_schedule_id
    or delete on subscriptions
    for each row execute function note_change(
        'subscription', 'subscription_id',
        'is_enabled event_types labels target_method previous_valid_until disabled_reason deleted_at retry_schedule_id',
        'description metadata target_url target_headers delivery'
    );
create or replace trigger note_users after insert
    or update of email, first_name, last_name, password_hash, email_verified_at or delete on users
    for each row execute function note_change('user', 'user_id', 'email email_verified_at', 'first_name last_name password_hash');
