-- transactional: false
drop index concurrently if exists subscriptions_told_of_changes;
