-- transactional: false
drop index concurrently if exists subscriptions_present;
