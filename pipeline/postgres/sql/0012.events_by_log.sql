-- depends: 0011.archive_retention

-- An application's newest events, in the order of the log: `received_at_us` is what a producer that speaks Kafka says it
-- is, and one whose clock is years ahead would hide all other applications' events. All of an application are in one partition.
create index events_by_log on events (application_id, appended_at_us, event_offset);
