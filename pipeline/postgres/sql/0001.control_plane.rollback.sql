drop table redrives, endpoint_states, subscriptions, event_types, application_secrets, applications, organizations;
