drop table subscriptions, event_types, application_secrets, applications, organizations;
