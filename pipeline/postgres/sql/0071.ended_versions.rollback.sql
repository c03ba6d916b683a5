alter table subscription_versions drop column ended_at;
