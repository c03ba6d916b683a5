drop table event_usage;
