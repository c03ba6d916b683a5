-- transactional: false
-- depends: 0260.present_subscriptions

-- Pages of event types, by name in the order of code points whatever the database's own order is, and their count
-- before one more where a quota bounds it.

-- One whose making was interrupted is there, and of no use.
drop index concurrently if exists event_types_active;
create index concurrently event_types_active
    on event_types (application_id, name collate "C") where is_active;
