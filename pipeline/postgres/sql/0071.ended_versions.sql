-- depends: 0070.archive_topic_ids

-- When a version of a subscription ended: what no event of the archive can have met is forgotten with the archive's days.
alter table subscription_versions add column ended_at timestamptz;
update subscription_versions set ended_at = now() where to_version is not null;
create index subscription_versions_ended on subscription_versions (ended_at) where ended_at is not null;
