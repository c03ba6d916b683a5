alter table subscriptions drop column payload_filter;
