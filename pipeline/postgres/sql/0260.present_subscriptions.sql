-- transactional: false
-- depends: 0252.audit_requests

-- Lists of subscriptions, and the count before one more, which has to fit under the limit: without those that were
-- deleted, whose rows stay.

-- One whose making was interrupted is there, and of no use.
drop index concurrently if exists subscriptions_present;
create index concurrently subscriptions_present
    on subscriptions (application_id, created_at, subscription_id) where deleted_at is null;
