drop table redriven_events;
