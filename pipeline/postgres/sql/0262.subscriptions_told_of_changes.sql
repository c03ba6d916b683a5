-- transactional: false
-- depends: 0261.active_event_types

-- The subscriptions that are told of changes: few, or none. Each change asks whether there is one.

-- One whose making was interrupted is there, and of no use.
drop index concurrently if exists subscriptions_told_of_changes;
create index concurrently subscriptions_told_of_changes on subscriptions (application_id)
    where is_enabled and deleted_at is null and event_types && array[
        'hookline.application.created', 'hookline.application.changed', 'hookline.application.deleted',
        'hookline.subscription.created', 'hookline.subscription.changed', 'hookline.subscription.deleted'
    ];
