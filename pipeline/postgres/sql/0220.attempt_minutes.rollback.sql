drop table attempt_minutes;
