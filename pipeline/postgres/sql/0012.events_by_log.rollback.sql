drop index events_by_log;
