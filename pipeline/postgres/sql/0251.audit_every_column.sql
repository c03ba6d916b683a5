-- depends: 0250.audit_order

-- Two changes left no entry: of a subscription's filter, and that a user was joined to one of an OpenID provider.
create or replace trigger note_subscriptions after insert
    or update of is_enabled, event_types, description, metadata, labels, target_method, target_url, target_headers,
        delivery, previous_valid_until, disabled_reason, deleted_at, retry_schedule_id, payload_filter
    or delete on subscriptions
    for each row execute function note_change(
        'subscription', 'subscription_id',
        'is_enabled event_types labels target_method previous_valid_until disabled_reason deleted_at retry_schedule_id',
        'description metadata target_url target_headers delivery payload_filter'
    );
create or replace trigger note_users after insert
    or update of email, first_name, last_name, password_hash, email_verified_at, oidc_issuer, oidc_subject
    or delete on users
    for each row execute function note_change(
        'user', 'user_id', 'email email_verified_at oidc_issuer', 'first_name last_name password_hash oidc_subject'
    );
