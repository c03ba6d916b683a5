drop table subscription_versions, control_plane;
drop index subscriptions_by_change, application_secrets_by_change, event_types_by_change;
alter table subscriptions drop column created_version, drop column cancelled_before_version;
alter table application_secrets drop column changed_version;
alter table event_types drop column changed_version;
alter table applications drop column change_id, drop column published_change_id, drop column parts_version,
    drop column publishing_by, drop column publishing_until;
