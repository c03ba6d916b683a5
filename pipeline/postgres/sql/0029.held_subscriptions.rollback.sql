alter table subscriptions drop column held_until;
